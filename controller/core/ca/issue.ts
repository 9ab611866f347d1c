/**
 * Template → sign → check the own product. In: a template and the issuer's signer. Out: a certificate that was read
 * back and found right; any other result is a bug or a broken signer, and nothing is handed out.
 */
import { type Certificate, parseCertificate, serialHex } from '../../../common/certificate.ts'
import { MeshError } from '../../../common/errors.ts'
import type { Signer } from './signer.ts'
import { assembleCertificate, buildTbs } from './tbs.ts'
import type { CertificateTemplate, Issuer } from './template.ts'
import { findFaults } from './validate.ts'

export interface IssuedCertificate {
  readonly der: Uint8Array
  /** Lower-case hex. */
  readonly serialNumber: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** Throws ERR_CA_NOT_READY when the signer fails, ERR_INTERNAL when the product is not what the template says. */
export async function issueCertificate(
  template: CertificateTemplate,
  issuer: Issuer,
  signer: Signer,
): Promise<IssuedCertificate> {
  const tbs = buildTbs(template)
  let signature: Uint8Array
  try {
    signature = await signer.sign(tbs)
  } catch (cause) {
    const message = 'the certificate authority could not sign'
    throw new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff', cause })
  }
  const der = assembleCertificate(tbs, signature)
  const faults = findFaults(der, template, issuer)
  if (faults.length > 0)
    throw new MeshError(
      'ERR_INTERNAL',
      `a signed certificate failed its check: ${faults.join(', ')}`,
    )
  return describe(parseCertificate(der))
}

function describe(certificate: Certificate): IssuedCertificate {
  const { der, notBeforeMs, notAfterMs } = certificate
  return { der, serialNumber: serialHex(certificate), notBeforeMs, notAfterMs }
}
