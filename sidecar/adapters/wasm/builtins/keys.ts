/**
 * Verification keys of io.jwt.*: a PEM certificate, a PEM public key, a JWK or a JWK set → keys with alg and kid.
 * Source: OPA topdown/tokens.go (which forms are taken), RFC 7517, RFC 7518 §3.1.
 */
import { createPublicKey, createSecretKey, type KeyObject, X509Certificate } from 'node:crypto'
import { BuiltinError } from './builtin.ts'

export interface VerificationKey {
  readonly key: KeyObject
  /** The key's own `alg`; '' when it names none. */
  readonly alg: string
  /** '' when it has none. */
  readonly kid: string
}

export const JWT_ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'],
  ...['HS256', 'HS384', 'HS512', 'EdDSA'],
]

const PEM = /^-----BEGIN ([A-Z ]+)-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1-----\r?\n?$/
const CACHE_ENTRIES = 100
const cache = new Map<string, readonly VerificationKey[]>()

/** Parsed once per text: policies verify many tokens against the same few keys. */
export function parseKeys(text: string): readonly VerificationKey[] {
  const known = cache.get(text)
  if (known !== undefined) return known
  const keys = text.trimStart().startsWith('-----BEGIN') ? [parsePem(text)] : parseJwks(text)
  if (cache.size >= CACHE_ENTRIES) cache.delete(cache.keys().next().value ?? '')
  cache.set(text, keys)
  return keys
}

function parsePem(text: string): VerificationKey {
  const label = PEM.exec(text.trimStart())?.[1]
  try {
    if (label === 'CERTIFICATE')
      return { key: new X509Certificate(text).publicKey, alg: '', kid: '' }
    if (label === 'PUBLIC KEY') return { key: createPublicKey(text), alg: '', kid: '' }
  } catch (cause) {
    throw new BuiltinError(`cannot read PEM: ${String(cause)}`)
  }
  throw new BuiltinError('not one PEM certificate or public key')
}

function parseJwks(text: string): VerificationKey[] {
  const document = parseJson(text)
  const list = Array.isArray(document.keys) ? (document.keys as unknown[]) : [document]
  const keys: VerificationKey[] = []
  for (const jwk of list) {
    if (typeof jwk !== 'object' || jwk === null) throw new BuiltinError('a JWK is not an object')
    const { alg, kid } = jwk as { alg?: unknown; kid?: unknown }
    const known = typeof alg === 'string' && JWT_ALGORITHMS.includes(alg)
    if (alg !== undefined && !known) continue
    keys.push({
      key: importJwk(jwk as JsonWebKey),
      alg: typeof alg === 'string' ? alg : '',
      kid: typeof kid === 'string' ? kid : '',
    })
  }
  return keys
}

type JsonWebKey = { kty?: string; k?: string; d?: string }

function importJwk(jwk: JsonWebKey): KeyObject {
  try {
    return jwk.kty === 'oct'
      ? createSecretKey(Buffer.from(jwk.k ?? '', 'base64url'))
      : createPublicKey({ key: jwk, format: 'jwk' })
  } catch (cause) {
    throw new BuiltinError(`cannot read JWK: ${String(cause)}`)
  }
}

function parseJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // falls through to the one error
  }
  throw new BuiltinError('keys are neither PEM nor JWK')
}
