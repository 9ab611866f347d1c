/**
 * What both sides of an attestation must agree on, byte for byte: the join token's text, the bytes that a credential
 * proof signs, and how a credential's request is bound to the SVID's request. Pure.
 * Source: proto/postern/identity/v1alpha1/identity.proto; DESIGN §3.
 */
import { createHash } from 'node:crypto'
import { Secret } from './secret.ts'

/** Searchable by secret scanners, and versioned. */
export const JOIN_TOKEN_PREFIX = 'postern-join-v1'

const ID_BYTES = 16
const SECRET_BYTES = 32
const FINGERPRINT_BYTES = 32
const MAX_TOKEN_CHARACTERS = 256

export interface JoinToken {
  /** base64url of 16 random bytes; may be logged. */
  readonly id: string
  /** 256 random bits. */
  readonly secret: Secret<Uint8Array>
  /** SHA-256 of the root certificate's DER: what the sidecar trusts before it sends the token. */
  readonly rootFingerprint: Uint8Array
}

/** `postern-join-v1.<id>.<secret>.<root fingerprint>`, each base64url without padding. */
export function formatJoinToken(token: JoinToken): Secret<string> {
  const secret = toBase64Url(token.secret.reveal())
  const fingerprint = toBase64Url(token.rootFingerprint)
  return new Secret([JOIN_TOKEN_PREFIX, token.id, secret, fingerprint].join('.'))
}

/** Undefined for any text that `formatJoinToken` would not write (white space around it is dropped). */
export function parseJoinToken(text: string): JoinToken | undefined {
  if (text.length > MAX_TOKEN_CHARACTERS) return undefined
  const [prefix, id, secret, fingerprint, ...rest] = text.trim().split('.')
  if (prefix !== JOIN_TOKEN_PREFIX || rest.length > 0) return undefined
  const secretBytes = fromBase64Url(secret, SECRET_BYTES)
  const rootFingerprint = fromBase64Url(fingerprint, FINGERPRINT_BYTES)
  if (id === undefined || fromBase64Url(id, ID_BYTES) === undefined) return undefined
  if (secretBytes === undefined || rootFingerprint === undefined) return undefined
  return { id, secret: new Secret(secretBytes), rootFingerprint }
}

/** A new token's parts from `ID_BYTES + SECRET_BYTES` random bytes. */
export function makeJoinToken(
  randomBytes: (count: number) => Uint8Array,
  rootFingerprint: Uint8Array,
): JoinToken {
  const id = toBase64Url(randomBytes(ID_BYTES))
  return { id, secret: new Secret(randomBytes(SECRET_BYTES)), rootFingerprint }
}

/** `"postern-reattest-v1\n" + nonce + sha256(csr)`: proves the credential's key for this request, now. */
export function reattestationPayload(nonce: Uint8Array, csr: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from('postern-reattest-v1\n'), nonce, sha256(csr)])
}

/**
 * The challengePassword of a credential's request: hex SHA-256 of the SVID's request that comes with it. So a
 * captured credential request can't be sent again with somebody else's SVID key.
 */
export function csrBinding(csr: Uint8Array): string {
  return sha256(csr).toString('hex')
}

export function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

/** Undefined unless the text is the one encoding of exactly `length` bytes. */
function fromBase64Url(text: string | undefined, length: number): Uint8Array | undefined {
  if (text === undefined) return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.length === length && toBase64Url(bytes) === text ? bytes : undefined
}
