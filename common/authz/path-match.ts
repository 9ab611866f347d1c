/**
 * Terms on a path. Envoy decodes unreserved characters and slashes only, so `/v1/a%3Ab` stays apart from `/v1/a:b`,
 * and an app may decode it to the same (RFC 3986 §3.3: `pchar`). The reading is always the one that denies: what closes
 * meets each such character in both forms, what opens meets the text as it is. Never made into a regular expression here.
 */
import type { StringMatch, Term } from '../policy-set.ts'
import { type Direction, matchesTemplate, matchesText, textTermHolds } from './text-match.ts'

const ENCODED: ReadonlyMap<string, string> = new Map(
  Array.from(":@!$&'()*+,;=", (c) => [c, c.charCodeAt(0).toString(16).toUpperCase()]),
)

/** The two hex digits after `%`, in upper case, of a character that a path has in two forms; else undefined. */
export function encodedForm(char: string): string | undefined {
  return ENCODED.get(char)
}

/** Whether the term holds for a path without query. `is` of an ALLOW and `not` of a DENY open, the others close. */
export function pathTermHolds(
  term: Term<StringMatch>,
  path: string | undefined,
  direction: Direction,
): boolean {
  if (path === undefined || !path.includes('%')) return textTermHolds(term, path, direction)
  const matchesIs = direction === 'deny' ? matchesInEitherForm : matchesText
  const matchesNot = direction === 'deny' ? matchesText : matchesInEitherForm
  if (term.is.length > 0 && !term.is.some((p) => matchesIs(p, path))) return false
  return !term.not.some((p) => matchesNot(p, path))
}

function matchesInEitherForm(pattern: StringMatch, path: string): boolean {
  switch (pattern.kind) {
    case 'exact':
      return isLiteral(pattern.value, path)
    case 'prefix':
      return endOfLiteral(pattern.value, path) !== undefined
    case 'suffix':
      return endsWithLiteral(pattern.value, path)
    case 'present':
      return true
    case 'template':
      return matchesTemplate(pattern.segments, path, isLiteral)
  }
}

function isLiteral(literal: string, text: string): boolean {
  return endOfLiteral(literal, text) === text.length
}

/** Where the literal ends that the text begins with. Neither form begins like the other, so one walk is enough. */
function endOfLiteral(literal: string, text: string): number | undefined {
  let at = 0
  for (const char of literal) {
    const length = text.startsWith(char, at) ? char.length : isEncoded(char, text, at) ? 3 : 0
    if (length === 0) return undefined
    at += length
  }
  return at
}

/** The same from the end: neither form ends like the other. */
function endsWithLiteral(literal: string, text: string): boolean {
  let end = text.length
  for (const char of Array.from(literal).reverse()) {
    const isRaw = text.endsWith(char, end)
    if (!isRaw && !isEncoded(char, text, end - 3)) return false
    end -= isRaw ? char.length : 3
  }
  return true
}

function isEncoded(char: string, text: string, at: number): boolean {
  const form = encodedForm(char)
  if (form === undefined || at < 0 || text[at] !== '%') return false
  return text.slice(at + 1, at + 3).toUpperCase() === form
}
