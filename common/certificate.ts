/**
 * Reads X.509 certificates strictly: DER in, fields out. It checks form only; trust (signature, issuer, time) is its
 * callers' work. Anything that two readers could take differently (a second extension of one kind, trailing bytes,
 * a wrong version) throws DerError. Source: RFC 5280 §4.1, §4.2.
 */
import {
  contentOf,
  DerError,
  type DerValue,
  decodeAscii,
  readBitString,
  readBoolean,
  readChildren,
  readDer,
  readInteger,
  readNamedBits,
  readOid,
  readTime,
  TAG,
} from './der.ts'
import { decodeUidExtension, UID_EXTENSION_OID } from './svid-extension.ts'

export const OID = {
  commonName: '2.5.4.3',
  ecPublicKey: '1.2.840.10045.2.1',
  prime256v1: '1.2.840.10045.3.1.7',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  extensionRequest: '1.2.840.113549.1.9.14',
  challengePassword: '1.2.840.113549.1.9.7',
} as const

/** Bit numbers of keyUsage. Source: RFC 5280 §4.2.1.3. */
export const KEY_USAGE = { digitalSignature: 0, keyCertSign: 5, crlSign: 6 } as const

/** Tag of a URI among GeneralNames: `[6]`, primitive. Source: RFC 5280 §4.2.1.6. */
export const TAG_URI = 0x86

const MAX_BYTES = 16 * 1024

export interface Extension {
  readonly critical: boolean
  readonly value: Uint8Array
}

export interface Certificate {
  readonly der: Uint8Array
  /** The part that is signed. */
  readonly tbs: Uint8Array
  /** Two's complement, big endian, as in the certificate. */
  readonly serialNumber: Uint8Array
  /** Names, as DER. */
  readonly issuer: Uint8Array
  readonly subject: Uint8Array
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  readonly signatureAlgorithm: string
  readonly signature: Uint8Array
  /** By OID. */
  readonly extensions: ReadonlyMap<string, Extension>
}

/** Throws DerError for what is not a v3 certificate in DER, or is larger than 16 KiB. */
export function parseCertificate(bytes: Uint8Array): Certificate {
  if (bytes.length > MAX_BYTES) throw new DerError('certificate is too large')
  const [tbs, algorithm, signature, ...rest] = readChildren(readDer(bytes), TAG.sequence)
  if (tbs === undefined || algorithm === undefined || rest.length > 0)
    throw new DerError('not a certificate')
  const fields = readChildren(tbs, TAG.sequence)
  const [version, serial, innerAlgorithm, issuer, validity, subject, key] = fields
  const [versionNumber] = readChildren(version, 0xa0)
  if (readInteger(versionNumber)[0] !== 2) throw new DerError('not a v3 certificate')
  if (!sameBytes(innerAlgorithm?.bytes, algorithm.bytes))
    throw new DerError('two different signature algorithms')
  const [notBefore, notAfter, ...times] = readChildren(validity, TAG.sequence)
  if (times.length > 0) throw new DerError('bad validity')
  contentOf(key, TAG.sequence)
  return {
    der: bytes,
    tbs: tbs.bytes,
    serialNumber: readInteger(serial),
    issuer: bytesOfName(issuer),
    subject: bytesOfName(subject),
    notBeforeMs: readTime(notBefore),
    notAfterMs: readTime(notAfter),
    publicKey: key?.bytes ?? new Uint8Array(),
    signatureAlgorithm: readOid(readChildren(algorithm, TAG.sequence)[0]),
    signature: readBitString(signature),
    extensions: readExtensions(fields.slice(7)),
  }
}

/** Extensions of a certificate or an extensionRequest, by OID; a second one of an OID throws. */
export function parseExtensionList(list: DerValue | undefined): Map<string, Extension> {
  const extensions = new Map<string, Extension>()
  for (const item of readChildren(list, TAG.sequence)) {
    const parts = readChildren(item, TAG.sequence)
    const id = readOid(parts[0])
    const critical = parts.length === 3 ? readBoolean(parts[1]) : false
    if (parts.length < 2 || parts.length > 3) throw new DerError('bad extension')
    if (extensions.has(id)) throw new DerError(`extension ${id} twice`)
    extensions.set(id, { critical, value: contentOf(parts.at(-1), TAG.octetString) })
  }
  return extensions
}

function readExtensions(fields: readonly DerValue[]): Map<string, Extension> {
  const [only, ...more] = fields
  if (only === undefined) return new Map()
  // Unique identifiers ([1], [2]) are dead since X.509v3; nobody needs them.
  if (more.length > 0) throw new DerError('unknown certificate field')
  const [list, ...rest] = readChildren(only, 0xa3)
  if (rest.length > 0) throw new DerError('bad extensions')
  return parseExtensionList(list)
}

function bytesOfName(value: DerValue | undefined): Uint8Array {
  contentOf(value, TAG.sequence)
  return value?.bytes ?? new Uint8Array()
}

/** The names in a subjectAltName's value: URIs as text, and how many names of other kinds there are. */
export function parseSubjectAltName(value: Uint8Array): { uris: string[]; others: number } {
  const names = readChildren(readDer(value), TAG.sequence)
  const uris = names.filter((n) => n.tag === TAG_URI).map((n) => decodeAscii(n.content))
  return { uris, others: names.length - uris.length }
}

/** The one URI that is the certificate's only subjectAltName, or undefined. Source: X509-SVID §2, §5.2. */
export function soleUri(certificate: Certificate): string | undefined {
  const extension = certificate.extensions.get(OID.subjectAltName)
  if (extension === undefined) return undefined
  const { uris, others } = parseSubjectAltName(extension.value)
  return uris.length === 1 && others === 0 ? uris[0] : undefined
}

export function keyUsageOf(certificate: Certificate): ReadonlySet<number> {
  const extension = certificate.extensions.get(OID.keyUsage)
  return extension === undefined ? new Set() : readNamedBits(readDer(extension.value))
}

/** OIDs, in order. Empty when there is no such extension. */
export function extendedKeyUsageOf(certificate: Certificate): readonly string[] {
  const extension = certificate.extensions.get(OID.extendedKeyUsage)
  if (extension === undefined) return []
  return readChildren(readDer(extension.value), TAG.sequence).map(readOid)
}

export function isCa(certificate: Certificate): boolean {
  const extension = certificate.extensions.get(OID.basicConstraints)
  if (extension === undefined) return false
  const [ca] = readChildren(readDer(extension.value), TAG.sequence)
  return ca !== undefined && ca.tag === TAG.boolean && readBoolean(ca)
}

/** The UID that the CA wrote into the certificate, or undefined when there is none. */
export function workloadUidOf(certificate: Certificate): string | undefined {
  const extension = certificate.extensions.get(UID_EXTENSION_OID)
  return extension === undefined ? undefined : decodeUidExtension(extension.value)
}

/** Lower-case hex of the serial number, without a leading sign byte: what OpenSSL and Envoy show. */
export function serialHex(certificate: Certificate): string {
  const { serialNumber } = certificate
  const magnitude =
    serialNumber.length > 1 && serialNumber[0] === 0 ? serialNumber.subarray(1) : serialNumber
  return Array.from(magnitude, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return false
  return a.every((byte, i) => byte === b[i])
}
