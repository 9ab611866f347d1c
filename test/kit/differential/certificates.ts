/**
 * A throw-away CA and client certificates with the subject-alternative names that matter to guards: one URI, several,
 * a DNS name only. RSA by node-forge, which is not what signs Postern's own certificates.
 */
import { generateKeyPairSync } from 'node:crypto'
import forge from 'node-forge'

export interface PemPair {
  readonly certificate: string
  readonly privateKey: string
}

/** Subject-alternative names of a certificate: `spiffe://…` as URI, anything else as DNS name. */
export function makeCertificates<K extends string>(
  names: Readonly<Record<K, readonly string[]>>,
): { readonly ca: string; readonly pairs: Readonly<Record<K, PemPair>> } {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const keys = {
    publicKey: forge.pki.publicKeyFromPem(
      publicKey.export({ type: 'spki', format: 'pem' }) as string,
    ),
    privateKey: forge.pki.privateKeyFromPem(pem),
  }
  let serial = 1
  const issue = (subject: string, extensions: object[]): string => {
    const certificate = forge.pki.createCertificate()
    certificate.publicKey = keys.publicKey
    certificate.serialNumber = String(10 + serial++)
    certificate.validity.notBefore = new Date(Date.now() - 60_000)
    certificate.validity.notAfter = new Date(Date.now() + 86_400_000)
    certificate.setSubject([{ name: 'organizationName', value: subject }])
    certificate.setIssuer([{ name: 'organizationName', value: 'ca' }])
    certificate.setExtensions(extensions)
    certificate.sign(keys.privateKey, forge.md.sha256.create())
    return forge.pki.certificateToPem(certificate)
  }
  const ca = issue('ca', [
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, critical: true },
  ])
  const pairs = Object.entries<readonly string[]>(names).map(([name, sans]) => {
    const altNames = sans.map((value) => ({ type: value.includes('://') ? 6 : 2, value }))
    const certificate = issue(name, [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
      { name: 'subjectAltName', altNames },
    ])
    return [name, { certificate, privateKey: pem }] as const
  })
  return { ca, pairs: Object.fromEntries(pairs) as Record<K, PemPair> }
}
