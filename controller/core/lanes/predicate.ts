/**
 * Predicates over one request, as plain values that fold as they are built; `to-matcher.ts` writes them for Envoy.
 * `text` and `address` are false when the input is absent, so `not` of them is true: who negates says what absence means.
 * Regular expressions are made from escaped text only (`escapeRegex`).
 */
import type { CidrBlock } from '../../../common/authz/address.ts'

/** Where Envoy reads the text. Headers: lower-case names, `:path`, `:method`, `:authority` too. */
export type Input =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'uriSan' | 'dnsSan' | 'subject' }

/** `regex` is RE2 and must match the whole text. */
export interface TextTest {
  readonly kind: 'exact' | 'prefix' | 'suffix' | 'contains' | 'regex'
  readonly value: string
}

export type Predicate =
  | { readonly kind: 'const'; readonly value: boolean }
  | { readonly kind: 'text'; readonly input: Input; readonly test: TextTest }
  | { readonly kind: 'address'; readonly blocks: readonly CidrBlock[] }
  | { readonly kind: 'and' | 'or'; readonly of: readonly Predicate[] }
  | { readonly kind: 'not'; readonly of: Predicate }

export const TRUE: Predicate = { kind: 'const', value: true }
export const FALSE: Predicate = { kind: 'const', value: false }

export const PATH: Input = { kind: 'header', name: ':path' }
export const METHOD: Input = { kind: 'header', name: ':method' }
export const HOST: Input = { kind: 'header', name: ':authority' }
export const URI_SAN: Input = { kind: 'uriSan' }

export function constant(value: boolean): Predicate {
  return value ? TRUE : FALSE
}

export function text(input: Input, kind: TextTest['kind'], value: string): Predicate {
  return { kind: 'text', input, test: { kind, value } }
}

export function not(predicate: Predicate): Predicate {
  if (predicate.kind === 'const') return constant(!predicate.value)
  return predicate.kind === 'not' ? predicate.of : { kind: 'not', of: predicate }
}

/** True when the list is empty. */
export function all(predicates: readonly Predicate[]): Predicate {
  return fold('and', predicates)
}

/** False when the list is empty. */
export function any(predicates: readonly Predicate[]): Predicate {
  return fold('or', predicates)
}

function fold(kind: 'and' | 'or', predicates: readonly Predicate[]): Predicate {
  const neutral = kind === 'and'
  const kept: Predicate[] = []
  for (const predicate of predicates) {
    if (predicate.kind === 'const') {
      if (predicate.value !== neutral) return predicate
    } else if (predicate.kind === kind) kept.push(...predicate.of)
    else kept.push(predicate)
  }
  const [first] = kept
  if (first === undefined) return constant(neutral)
  return kept.length === 1 ? first : { kind, of: kept }
}

/** Literal text as RE2: every ASCII punctuation mark and control character is escaped. */
export function escapeRegex(literal: string): string {
  return Array.from(literal, escapeChar).join('')
}

/** Literal text as RE2 without regard to ASCII case. `(?i)` would fold U+212A into `k` too. */
export function escapeRegexIgnoringCase(literal: string): string {
  return Array.from(literal, (char) =>
    /[A-Za-z]/.test(char) ? `[${char.toLowerCase()}${char.toUpperCase()}]` : escapeChar(char),
  ).join('')
}

function escapeChar(char: string): string {
  const code = char.codePointAt(0) ?? 0
  if (code >= 0x80 || /[A-Za-z0-9]/.test(char)) return char
  return code < 0x20 || code === 0x7f ? `\\x{${code.toString(16)}}` : `\\${char}`
}
