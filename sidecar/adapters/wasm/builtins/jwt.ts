/**
 * io.jwt.decode, io.jwt.decode_verify, io.jwt.verify_*: tokens in JWS compact form.
 * decode_verify gives `[valid, header, payload]`; a token that doesn't verify gives `[false, {}, {}]`, and a token or
 * constraint that can't be read is undefined. Source: OPA topdown/tokens.go; RFC 7519 §7.2, RFC 7515 §4.1.
 */

import { createSecretKey } from 'node:crypto'
import { trimChars } from '../../../../common/trim.ts'
import { parseExactJson } from '../../../core/input/exact-json.ts'
import { RegoNumber } from '../rego-value.ts'
import {
  type Builtin,
  type BuiltinContext,
  BuiltinError,
  objectOperand,
  stringOperand,
} from './builtin.ts'
import { verifyJws } from './jws.ts'
import { JWT_ALGORITHMS, parseKeys, type VerificationKey } from './keys.ts'

type Claims = Readonly<Record<string, unknown>>

interface Token {
  readonly header: Claims
  readonly payload: string
  readonly signature: Buffer
  /** What the signature is over. */
  readonly signed: string
}

interface Constraints {
  readonly keys: readonly VerificationKey[]
  readonly alg: string
  readonly iss: string
  readonly aud: string
  readonly seconds: number
}

/** A token in a token in a token is no use that anyone has. */
const MAX_NESTING = 8
const UNVERIFIED = [false, {}, {}] as const
const CONSTRAINTS = ['cert', 'secret', 'alg', 'iss', 'aud', 'time']
const BASE64URL = /^[A-Za-z0-9_-]*={0,2}$/

export const jwtBuiltins: Readonly<Record<string, Builtin>> = {
  'io.jwt.decode': (_c, token) => decode(stringOperand(token), 0),
  'io.jwt.decode_verify': (c, token, constraints) =>
    decodeVerify(stringOperand(token), readConstraints(objectOperand(constraints), c)),
  ...Object.fromEntries(
    JWT_ALGORITHMS.map((alg) => [`io.jwt.verify_${alg.toLowerCase()}`, verifier(alg)]),
  ),
}

function decode(text: string, depth: number): unknown {
  if (depth > MAX_NESTING) throw new BuiltinError('token is nested too deeply')
  const token = parseToken(text)
  if (stringClaim(token.header, 'cty') === 'JWT')
    return decode(trimChars(token.payload, `"'`), depth + 1)
  return [token.header, parseClaims(token.payload), token.signature.toString('hex')]
}

function verifier(alg: string): Builtin {
  return (_c, tokenOperand, keyOperand) => {
    const token = parseToken(stringOperand(tokenOperand))
    const text = stringOperand(keyOperand)
    const keys = alg.startsWith('HS') ? [secretKey(text)] : parseKeys(text)
    return verifyWithAny(keys, token, alg)
  }
}

/** The key that the token names, else any key that isn't for another algorithm. */
function verifyWithAny(keys: readonly VerificationKey[], token: Token, alg: string): boolean {
  const kid = stringClaim(token.header, 'kid')
  const named = kid === '' ? undefined : keys.find((k) => k.kid === kid)
  if (named !== undefined) return verifyJws(alg, named.key, token.signed, token.signature)
  const tokenAlg = stringClaim(token.header, 'alg')
  return keys
    .filter((k) => k.alg === '' || k.alg === tokenAlg)
    .some((k) => verifyJws(alg, k.key, token.signed, token.signature))
}

function decodeVerify(text: string, constraints: Constraints): unknown {
  let token = parseToken(text)
  for (let depth = 0; ; depth++) {
    if (depth > MAX_NESTING) throw new BuiltinError('token is nested too deeply')
    if (!isSignedAsAsked(token, constraints)) return UNVERIFIED
    if (stringClaim(token.header, 'cty').toUpperCase() !== 'JWT') break
    token = parseToken(token.payload)
  }
  const claims = parseClaims(token.payload)
  return claimsHold(claims, constraints) ? [true, token.header, claims] : UNVERIFIED
}

function isSignedAsAsked(token: Token, constraints: Constraints): boolean {
  const alg = stringClaim(token.header, 'alg')
  if (alg === '' || hasUnknownCritical(token.header)) return false
  if (constraints.alg !== '' && constraints.alg !== alg) return false
  return verifyWithAny(constraints.keys, token, alg)
}

/** RFC 7515 §4.1.11: a critical parameter that isn't known makes the token invalid. */
function hasUnknownCritical(header: Claims): boolean {
  if (!Object.hasOwn(header, 'crit')) return false
  const crit = header.crit
  if (!Array.isArray(crit) || crit.length === 0) throw new BuiltinError('crit must be a list')
  return crit.some((name) => !['alg', 'kid', 'typ', 'cty', 'crit'].includes(String(name)))
}

function claimsHold(claims: Claims, constraints: Constraints): boolean {
  if (constraints.iss !== '' && claims.iss !== constraints.iss) return false
  if (!audienceHolds(claims, constraints.aud)) return false
  const expires = timeClaim(claims, 'exp')
  if (expires !== undefined && constraints.seconds >= expires) return false
  const notBefore = timeClaim(claims, 'nbf')
  return notBefore === undefined || constraints.seconds >= notBefore
}

/** A token with an audience must be asked for it; one without passes only when none is asked for. */
function audienceHolds(claims: Claims, asked: string): boolean {
  if (!Object.hasOwn(claims, 'aud')) return asked === ''
  const { aud } = claims
  return Array.isArray(aud) ? aud.includes(asked) : aud === asked
}

function timeClaim(claims: Claims, name: string): number | undefined {
  if (!Object.hasOwn(claims, name)) return undefined
  const number = toNumber(claims[name])
  if (number === undefined) throw new BuiltinError(`${name} must be a number`)
  return number
}

function readConstraints(given: Claims, context: BuiltinContext): Constraints {
  for (const name of Object.keys(given))
    if (!CONSTRAINTS.includes(name)) throw new BuiltinError(`unknown constraint ${name}`)
  const text = (name: string) => (Object.hasOwn(given, name) ? stringOperand(given[name]) : '')
  const secret = text('secret')
  const hasCert = Object.hasOwn(given, 'cert')
  if (hasCert === (secret !== '')) throw new BuiltinError('need one of cert and secret')
  return {
    keys: hasCert ? parseKeys(text('cert')) : [secretKey(secret)],
    alg: text('alg'),
    iss: text('iss'),
    aud: text('aud'),
    seconds: (Object.hasOwn(given, 'time') ? timeOf(given.time) : Number(context.nowNs)) / 1e9,
  }
}

function timeOf(value: unknown): number {
  const number = toNumber(value)
  if (number === undefined || number < 0) throw new BuiltinError('time must be a positive number')
  return number
}

/** Numbers come as number, as bigint, or (from a token) as JSON.rawJSON. */
function toNumber(value: unknown): number | undefined {
  if (typeof value === 'number' || typeof value === 'bigint') return Number(value)
  if (value instanceof RegoNumber) return Number(value.text)
  if (typeof value === 'object' && value !== null && 'rawJSON' in value && Object.isFrozen(value))
    return Number(value.rawJSON)
  return undefined
}

function secretKey(secret: string): VerificationKey {
  return { key: createSecretKey(Buffer.from(secret)), alg: '', kid: '' }
}

function parseToken(text: string): Token {
  const [header, payload, signature, ...rest] = text.split('.')
  if (header === undefined || payload === undefined || signature === undefined || rest.length > 0)
    throw new BuiltinError('a token has three parts')
  const claims = parseClaims(decodeBase64Url(header).toString())
  if (Object.hasOwn(claims, 'enc')) throw new BuiltinError('encrypted tokens are not supported')
  return {
    header: claims,
    payload: decodeBase64Url(payload).toString(),
    signature: decodeBase64Url(signature),
    signed: `${header}.${payload}`,
  }
}

function parseClaims(text: string): Claims {
  try {
    return objectOperand(parseExactJson(text))
  } catch {
    throw new BuiltinError('a part of the token is not a JSON object')
  }
}

/** '' when absent; a claim that is there must be a string. */
function stringClaim(claims: Claims, name: string): string {
  return Object.hasOwn(claims, name) ? stringOperand(claims[name]) : ''
}

function decodeBase64Url(text: string): Buffer {
  // First of all: looking for the end of many `=` takes quadratic time, and the token is the client's.
  if (!BASE64URL.test(text)) throw new BuiltinError('illegal base64url string')
  const digits = trimChars(text, '=')
  if (digits.length % 4 === 1) throw new BuiltinError('illegal base64url string')
  return Buffer.from(digits, 'base64url')
}
