/**
 * base64url.encode_no_pad, hex.*, urlquery.*, crypto hashes and HMACs: bytes in other clothes.
 * Text is its UTF-8 bytes. Source: OPA topdown/encoding.go, topdown/crypto.go; Go net/url QueryEscape.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { parseQuery } from '../../../core/input/go-url.ts'
import { RegoSet } from '../rego-value.ts'
import { type Builtin, BuiltinError, objectOperand, stringOperand } from './builtin.ts'

const HASHES = ['md5', 'sha1', 'sha256', 'sha512']

export const encodingBuiltins: Readonly<Record<string, Builtin>> = {
  'base64url.encode_no_pad': (_c, text) => Buffer.from(stringOperand(text)).toString('base64url'),
  'hex.encode': (_c, text) => Buffer.from(stringOperand(text)).toString('hex'),
  'hex.decode': (_c, text) => decodeHex(stringOperand(text)),
  'urlquery.encode': (_c, text) => escapeQuery(stringOperand(text)),
  'urlquery.decode': (_c, text) => unescapeQuery(stringOperand(text)),
  'urlquery.encode_object': (_c, object) => encodeObject(objectOperand(object)),
  'urlquery.decode_object': (_c, text) => decodeObject(stringOperand(text)),
  'crypto.hmac.equal': (_c, a, b) => equal(stringOperand(a), stringOperand(b)),
  ...Object.fromEntries(HASHES.filter((h) => h !== 'sha512').map((h) => [`crypto.${h}`, hash(h)])),
  ...Object.fromEntries(HASHES.map((h) => [`crypto.hmac.${h}`, hmac(h)])),
}

function hash(name: string): Builtin {
  return (_c, text) => createHash(name).update(stringOperand(text)).digest('hex')
}

function hmac(name: string): Builtin {
  return (_c, text, key) =>
    createHmac(name, stringOperand(key)).update(stringOperand(text)).digest('hex')
}

function equal(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

function decodeHex(text: string): string {
  if (!/^(?:[0-9A-Fa-f]{2})*$/.test(text)) throw new BuiltinError('not hex')
  return Buffer.from(text, 'hex').toString()
}

/** Unreserved characters stay, a blank becomes `+`, every other byte `%XX`. */
function escapeQuery(text: string): string {
  return encodeURIComponent(text.toWellFormed())
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')
}

function unescapeQuery(text: string): string {
  if (/[&;=]/.test(text)) return unescapeQuery(text.replace(/[&;=]/g, encodeURIComponent))
  return Object.keys(decodeObject(text))[0] ?? ''
}

function decodeObject(text: string): Record<string, string[]> {
  try {
    return parseQuery(text)
  } catch {
    throw new BuiltinError('not a URL query')
  }
}

/** Values are a string or an array or set of strings; names are sorted, as Go's url.Values.Encode does. */
function encodeObject(object: Readonly<Record<string, unknown>>): string {
  const pairs: string[] = []
  for (const name of Object.keys(object).sort(byCodePoint)) {
    const value = object[name]
    const list = value instanceof RegoSet ? value.items : value
    for (const v of Array.isArray(list) ? list : [value])
      pairs.push(`${escapeQuery(name)}=${escapeQuery(stringOperand(v))}`)
  }
  return pairs.join('&')
}

function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
