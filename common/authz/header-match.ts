/**
 * Terms on a request header, which a client may send several times: Envoy joins the values by `,`.
 * The reading is always the one that denies: repeating a header, or sending it empty, evades nothing (DESIGN §4).
 * Members are the parts between commas without surrounding blanks; a header of blanks and commas only has none.
 */

import type { StringMatch, Term } from '../policy-set.ts'
import { trimBlanks } from '../trim.ts'
import { type Direction, matchesAny, matchesText } from './text-match.ts'

/**
 * Whether the term holds for the joined value.
 * ALLOW: `is` needs the joined value as a whole; `not` fails when the value or any member matches, or nothing is there.
 * DENY: `is` holds for the value or any member; `not` fails only when the value is listed word for word, or
 * the value and every member match a pattern.
 */
export function headerTermHolds(
  term: Term<StringMatch>,
  joined: string | undefined,
  direction: Direction,
): boolean {
  const value = joined === undefined || joined === '' ? undefined : joined
  const members = value === undefined ? [] : membersOf(value)
  return direction === 'allow'
    ? holdsInAllow(term, value, members)
    : holdsInDeny(term, value, members)
}

/** Whether a pattern can match a member at all: members have no comma and no surrounding blanks. */
export function canMatchMember(pattern: StringMatch): boolean {
  if (pattern.kind === 'present') return true
  if (pattern.kind === 'template') return false
  return !pattern.value.includes(',') && trimBlanks(pattern.value) === pattern.value
}

function holdsInAllow(
  term: Term<StringMatch>,
  value: string | undefined,
  members: readonly string[],
): boolean {
  if (term.is.length === 0 && term.not.length === 0) return true
  if (value === undefined || members.length === 0) return false
  if (term.is.length > 0 && !matchesAny(term.is, value)) return false
  return !matchesAny(term.not, value) && !members.some((m) => matchesMember(term.not, m))
}

function holdsInDeny(
  term: Term<StringMatch>,
  value: string | undefined,
  members: readonly string[],
): boolean {
  if (term.is.length > 0) {
    if (value === undefined) return false
    if (!matchesAny(term.is, value) && !members.some((m) => matchesMember(term.is, m))) return false
  }
  if (term.not.length === 0) return true
  if (value === undefined || members.length === 0) return true
  if (term.not.some((p) => p.kind === 'exact' && p.value === value)) return false
  return !(matchesAny(term.not, value) && members.every((m) => matchesMember(term.not, m)))
}

function matchesMember(patterns: readonly StringMatch[], member: string): boolean {
  return patterns.some((p) => canMatchMember(p) && matchesText(p, member))
}

function membersOf(value: string): readonly string[] {
  return value
    .split(',')
    .map(trimBlanks)
    .filter((m) => m !== '')
}
