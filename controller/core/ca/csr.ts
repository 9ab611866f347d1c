/**
 * Reads a PKCS#10 request. In: DER from an unauthenticated caller. Out: its P-256 key and the SPIFFE id that it asks
 * for, if any. Taken: public key, URI SAN, challengePassword (for a credential's request). Ignored, never copied into
 * a certificate: subject and every other extension and attribute. Refused: any other key or signature algorithm, a
 * wrong self-signature, a SAN that is not exactly one URI, an attribute or extension that stands twice.
 * Source: RFC 2986 §4, RFC 5480 §2, X509-SVID §2.
 */
import { createPublicKey, verify } from 'node:crypto'
import { OID, parseExtensionList, parseSubjectAltName } from '../../../common/certificate.ts'
import {
  contentOf,
  DerError,
  type DerValue,
  readBitString,
  readChildren,
  readDer,
  readInteger,
  readOid,
  readText,
  TAG,
} from '../../../common/der.ts'
import { MeshError } from '../../../common/errors.ts'

/** A P-256 request with one URI takes about 300 bytes; a SPIFFE id may have 2,048. */
export const MAX_CSR_BYTES = 4096

export interface SigningRequest {
  /** SubjectPublicKeyInfo, DER: P-256, uncompressed point. */
  readonly publicKey: Uint8Array
  /** Undefined: the request names no identity, and gets its workload's. */
  readonly uri: string | undefined
  readonly challengePassword: string | undefined
}

/** Throws ERR_CSR_INVALID, and nothing else, whatever the bytes. */
export function parseCsr(der: Uint8Array): SigningRequest {
  try {
    return parse(der)
  } catch (error) {
    if (error instanceof DerError)
      throw new MeshError('ERR_CSR_INVALID', `not a usable signing request: ${error.message}`)
    throw error
  }
}

function parse(der: Uint8Array): SigningRequest {
  if (der.length > MAX_CSR_BYTES) throw new DerError(`more than ${MAX_CSR_BYTES} bytes`)
  const [info, algorithm, signature, ...rest] = readChildren(readDer(der), TAG.sequence)
  if (info === undefined || rest.length > 0) throw new DerError('not a PKCS#10 request')
  const fields = readChildren(info, TAG.sequence)
  if (fields.length !== 4) throw new DerError('not a PKCS#10 request')
  const [version, subject, key, attributes] = fields
  const versionBytes = readInteger(version)
  if (versionBytes.length !== 1 || versionBytes[0] !== 0) throw new DerError('unknown version')
  contentOf(subject, TAG.sequence)
  const publicKey = readP256Key(key)
  const [algorithmId, ...parameters] = readChildren(algorithm, TAG.sequence)
  if (readOid(algorithmId) !== OID.ecdsaWithSha256 || parameters.length > 0)
    throw new DerError('signed by another algorithm than ECDSA with SHA-256')
  checkSignature(publicKey, info.bytes, readBitString(signature))
  return { publicKey, ...readAttributes(attributes) }
}

/** P-256 and an uncompressed point only: one key has one encoding here. Source: RFC 5480 §2.1.1, §2.2. */
function readP256Key(key: DerValue | undefined): Uint8Array {
  const [algorithm, bits, ...rest] = readChildren(key, TAG.sequence)
  const [type, curve, ...more] = readChildren(algorithm, TAG.sequence)
  if (readOid(type) !== OID.ecPublicKey || readOid(curve) !== OID.prime256v1)
    throw new DerError('key is not ECDSA P-256')
  const point = readBitString(bits)
  if (rest.length > 0 || more.length > 0 || point.length !== 65 || point[0] !== 4)
    throw new DerError('key is not an uncompressed P-256 point')
  return key?.bytes ?? new Uint8Array()
}

function checkSignature(publicKey: Uint8Array, signed: Uint8Array, signature: Uint8Array): void {
  let isRight: boolean
  try {
    // Refuses a point that is not on the curve.
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
    isRight = verify('sha256', signed, key, signature)
  } catch {
    throw new DerError('key is not a point of P-256')
  }
  if (!isRight) throw new DerError('self-signature is wrong')
}

function readAttributes(value: DerValue | undefined): Omit<SigningRequest, 'publicKey'> {
  const found = new Map<string, DerValue>()
  for (const attribute of readChildren(value, 0xa0)) {
    const [type, values, ...rest] = readChildren(attribute, TAG.sequence)
    const id = readOid(type)
    if (values === undefined || rest.length > 0) throw new DerError('bad attribute')
    if (found.has(id)) throw new DerError(`attribute ${id} twice`)
    found.set(id, values)
  }
  return {
    uri: readUri(found.get(OID.extensionRequest)),
    challengePassword: readPassword(found.get(OID.challengePassword)),
  }
}

function readUri(values: DerValue | undefined): string | undefined {
  if (values === undefined) return undefined
  const [list, ...more] = readChildren(values, TAG.set)
  if (more.length > 0) throw new DerError('more than one list of extensions')
  const san = parseExtensionList(list).get(OID.subjectAltName)
  if (san === undefined) return undefined
  const { uris, others } = parseSubjectAltName(san.value)
  const [uri, ...rest] = uris
  if (uri === undefined || rest.length > 0 || others > 0)
    throw new DerError('subjectAltName is not exactly one URI')
  return uri
}

function readPassword(values: DerValue | undefined): string | undefined {
  if (values === undefined) return undefined
  const [text, ...more] = readChildren(values, TAG.set)
  if (more.length > 0) throw new DerError('more than one challengePassword')
  return readText(text)
}
