/**
 * One literal pattern against one text, and a list of patterns against an attribute that may be absent.
 * Literal comparison only: no regular expression is ever made from a policy's text here.
 */
import type { StringMatch, TemplateSegment, Term } from '../policy-set.ts'

/**
 * How an absent attribute is read. `allow`: it never helps. `deny`: it never saves (DESIGN §4).
 * AUDIT policies are read as DENY ones, so that they report too much rather than too little.
 */
export type Direction = 'allow' | 'deny'

export function matchesText(pattern: StringMatch, text: string): boolean {
  switch (pattern.kind) {
    case 'exact':
      return text === pattern.value
    case 'prefix':
      return text.startsWith(pattern.value)
    case 'suffix':
      return text.endsWith(pattern.value)
    case 'present':
      return text !== ''
    case 'template':
      return matchesTemplate(pattern.segments, text)
  }
}

export function matchesAny(patterns: readonly StringMatch[], text: string): boolean {
  for (const pattern of patterns) if (matchesText(pattern, text)) return true
  return false
}

/** Whether a term with one value holds. An empty value is absent. */
export function textTermHolds(
  term: Term<StringMatch>,
  value: string | undefined,
  direction: Direction,
): boolean {
  const isPresent = value !== undefined && value !== ''
  if (term.is.length > 0 && !(isPresent && matchesAny(term.is, value))) return false
  if (term.not.length === 0) return true
  return isPresent ? !matchesAny(term.not, value) : direction === 'deny'
}

/** `matchesLiteral` compares a literal segment with that of the path. */
export function matchesTemplate(
  segments: readonly TemplateSegment[],
  path: string,
  matchesLiteral: (literal: string, part: string) => boolean = isSame,
): boolean {
  if (!path.startsWith('/')) return false
  const parts = path.slice(1).split('/')
  const last = segments.length - 1
  for (const [i, segment] of segments.entries()) {
    if (segment.kind === 'any') return i === last && parts.length > i
    const part = parts[i]
    if (part === undefined) return false
    if (segment.kind === 'one' ? part === '' : !matchesLiteral(segment.value, part)) return false
  }
  return parts.length === segments.length
}

function isSame(a: string, b: string): boolean {
  return a === b
}
