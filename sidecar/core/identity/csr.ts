/**
 * Builds PKCS#10 requests. In: a public key, a way to sign, and what is asked for. Out: DER.
 * Source: RFC 2986 §4, RFC 2985 §5.4 (challengePassword, extensionRequest).
 */
import { OID } from '../../../common/certificate.ts'
import {
  bitString,
  implicit,
  octetString,
  oid,
  sequence,
  setOfOne,
  tagged,
  unsignedInteger,
  utf8String,
} from '../../../common/der-write.ts'

export interface CsrRequest {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  /** ECDSA with SHA-256, DER, by the key's private half. */
  readonly sign: (bytes: Uint8Array) => Uint8Array
  /** The only subjectAltName. Absent: whatever the controller says that the caller is. */
  readonly uri?: string
  readonly challengePassword?: string
}

export function buildCsr(request: CsrRequest): Uint8Array {
  const attributes: Uint8Array[] = []
  if (request.challengePassword !== undefined)
    attributes.push(attribute(OID.challengePassword, utf8String(request.challengePassword)))
  if (request.uri !== undefined) {
    const san = sequence(implicit(6, new TextEncoder().encode(request.uri)))
    const extension = sequence(oid(OID.subjectAltName), octetString(san))
    attributes.push(attribute(OID.extensionRequest, sequence(extension)))
  }
  const info = sequence(
    unsignedInteger(Uint8Array.of(0)),
    sequence(),
    request.publicKey,
    tagged(0, ...attributes),
  )
  return sequence(info, sequence(oid(OID.ecdsaWithSha256)), bitString(request.sign(info)))
}

function attribute(id: string, value: Uint8Array): Uint8Array {
  return sequence(oid(id), setOfOne(value))
}
