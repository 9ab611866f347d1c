/**
 * JSON of a request's body → a value that prints as the same JSON: no digit is lost, no key is special.
 * Accepts what Go's encoding/json (UseNumber) accepts; anything else throws ERR_INPUT_INVALID.
 * Numbers that a double would change stay as their text (JSON.rawJSON), so that 2^53 + 1 is not 2^53 for a policy.
 */
import { MeshError } from '../../../common/errors.ts'

/** ECMAScript "JSON.parse source text access", in Node ≥ 21; TypeScript's lib doesn't have it yet. */
interface ExactJson {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown
  rawJSON(text: string): unknown
}
const exact = JSON as unknown as ExactJson

/** Digits beyond a double's 15, a fraction, an exponent, minus zero: JavaScript may print another text. */
const MAY_LOSE_DIGITS = /\d{16}|\d[.eE]|-0/
/** An escaped surrogate; alone it is no character, and Go reads it as U+FFFD. */
const ESCAPED_SURROGATE = /\\u[dD][89a-fA-F]/
/** Matches wherever it is tried, also an open string: so it never looks twice at one character. */
const STRING_OR_BRACKET = /"(?:[^"\\]|\\.?)*"?|[[\]{}]/gs
/** Nested deeper, the WASM module's recursive parser would run out of its stack; Go itself stops at 10,000. */
export const MAX_JSON_DEPTH = 1000

/** Errors: ERR_INPUT_INVALID. */
export function parseExactJson(text: string): unknown {
  try {
    checkDepth(text)
    const value = MAY_LOSE_DIGITS.test(text) ? exact.parse(text, keepDigits) : JSON.parse(text)
    return ESCAPED_SURROGATE.test(text) ? toWellFormed(value) : value
  } catch (cause) {
    throw new MeshError('ERR_INPUT_INVALID', 'body is not JSON', { cause })
  }
}

/** A number as JSON prints it exactly; for 64-bit integers of protobuf. */
export function exactInteger(value: bigint): unknown {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : exact.rawJSON(value.toString())
}

function keepDigits(_key: string, value: unknown, context: { source?: string }): unknown {
  if (typeof value !== 'number' || context.source === undefined) return value
  return String(value) === context.source ? value : exact.rawJSON(context.source)
}

/** Looks before parsing, so that a deep body costs one pass and no stack. */
function checkDepth(text: string): void {
  if (text.length <= MAX_JSON_DEPTH) return
  let depth = 0
  for (const [piece] of text.matchAll(STRING_OR_BRACKET)) {
    if (piece === '[' || piece === '{') depth++
    else if (piece === ']' || piece === '}') depth--
    if (depth > MAX_JSON_DEPTH) throw new RangeError('nested too deeply')
  }
}

function toWellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed()
  if (Array.isArray(value)) return value.map(toWellFormed)
  if (typeof value !== 'object' || value === null || isRaw(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([k, v]) => [k.toWellFormed(), toWellFormed(v)]),
  )
}

function isRaw(value: object): boolean {
  return Object.isFrozen(value) && 'rawJSON' in value
}
