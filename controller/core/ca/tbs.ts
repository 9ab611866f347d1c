/**
 * Template → the bytes that are signed → certificate. DER out; nothing is decided here.
 * Source: RFC 5280 §4.1, §4.2.1.
 */
import { OID } from '../../../common/certificate.ts'
import {
  bitString,
  boolean,
  implicit,
  namedBits,
  octetString,
  oid,
  sequence,
  tagged,
  time,
  unsignedInteger,
} from '../../../common/der-write.ts'
import { encodeUidExtension, UID_EXTENSION_OID } from '../../../common/svid-extension.ts'
import { type CertificateTemplate, keyIdentifier } from './template.ts'

const SIGNATURE_ALGORITHM = sequence(oid(OID.ecdsaWithSha256))
const VERSION_3 = tagged(0, unsignedInteger(Uint8Array.of(2)))

/** The TBSCertificate of a template. */
export function buildTbs(template: CertificateTemplate): Uint8Array {
  return sequence(
    VERSION_3,
    unsignedInteger(template.serialNumber),
    SIGNATURE_ALGORITHM,
    template.issuer,
    sequence(time(template.notBeforeMs), time(template.notAfterMs)),
    template.subject,
    template.publicKey,
    tagged(3, sequence(...extensionsOf(template))),
  )
}

/** Joins the signed part and its signature (ECDSA with SHA-256, DER). */
export function assembleCertificate(tbs: Uint8Array, signature: Uint8Array): Uint8Array {
  return sequence(tbs, SIGNATURE_ALGORITHM, bitString(signature))
}

function extensionsOf(template: CertificateTemplate): Uint8Array[] {
  const subjectIsEmpty = template.subject.length === 2
  const { uri, dnsNames = [], workloadUid, extendedKeyUsage } = template
  const extensions = [
    extension(OID.basicConstraints, true, template.isCa ? sequence(boolean(true)) : sequence()),
    extension(OID.keyUsage, true, namedBits(template.keyUsage)),
  ]
  if (extendedKeyUsage.length > 0)
    extensions.push(extension(OID.extendedKeyUsage, false, sequence(...extendedKeyUsage.map(oid))))
  const names = [
    ...(uri === undefined ? [] : [generalName(6, uri)]),
    ...dnsNames.map((name) => generalName(2, name)),
  ]
  if (names.length > 0)
    extensions.push(extension(OID.subjectAltName, subjectIsEmpty, sequence(...names)))
  extensions.push(
    extension(OID.subjectKeyIdentifier, false, octetString(keyIdentifier(template.publicKey))),
    extension(OID.authorityKeyIdentifier, false, sequence(implicit(0, template.authorityKeyId))),
  )
  if (workloadUid !== undefined)
    extensions.push(extension(UID_EXTENSION_OID, false, encodeUidExtension(workloadUid)))
  return extensions
}

/** An IA5String. Source: RFC 5280 §4.2.1.6. */
function generalName(tag: number, text: string): Uint8Array {
  return implicit(tag, new TextEncoder().encode(text))
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return critical
    ? sequence(oid(id), boolean(true), octetString(value))
    : sequence(oid(id), octetString(value))
}
