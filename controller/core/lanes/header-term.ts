/**
 * Terms on a request header for Envoy, exactly as common/authz/header-match.ts reads them: one joined value,
 * whose members count in whatever direction denies. Envoy's header input joins duplicates by `,` like ext_authz does.
 */
import { canMatchMember } from '../../../common/authz/header-match.ts'
import type { Direction } from '../../../common/authz/text-match.ts'
import type { StringMatch, Term } from '../../../common/policy-set.ts'
import {
  all,
  any,
  escapeRegex,
  FALSE,
  type Input,
  not,
  type Predicate,
  TRUE,
  text,
} from './predicate.ts'

export function lowerHeaderTerm(
  term: Term<StringMatch>,
  name: string,
  direction: Direction,
): Predicate {
  if (term.is.length === 0 && term.not.length === 0) return TRUE
  const header: Input = { kind: 'header', name }
  return direction === 'allow' ? lowerInAllow(term, header) : lowerInDeny(term, header)
}

function lowerInAllow(term: Term<StringMatch>, header: Input): Predicate {
  const is = term.is.length === 0 ? TRUE : matchesValue(term.is, header)
  const none = not(any([matchesValue(term.not, header), ...matchesSomeMember(term.not, header)]))
  return all([is, hasMembers(header), none])
}

function lowerInDeny(term: Term<StringMatch>, header: Input): Predicate {
  const is =
    term.is.length === 0
      ? TRUE
      : any([matchesValue(term.is, header), ...matchesSomeMember(term.is, header)])
  if (term.not.length === 0) return is
  const listed = term.not.filter((p) => p.kind === 'exact' && p.value !== '')
  const isSaved = all([
    hasMembers(header),
    any([
      matchesValue(listed, header),
      all([matchesValue(term.not, header), matchesEveryMember(term.not, header)]),
    ]),
  ])
  return all([is, not(isSaved)])
}

/** There and not empty. */
function hasValue(header: Input): Predicate {
  return text(header, 'regex', '(?s).+')
}

/** There, with more in it than blanks and commas. */
function hasMembers(header: Input): Predicate {
  return all([hasValue(header), not(text(header, 'regex', '[, \\t]*'))])
}

function matchesValue(patterns: readonly StringMatch[], header: Input): Predicate {
  return any(
    patterns.map((pattern) => {
      if (pattern.kind === 'present') return hasValue(header)
      if (pattern.kind === 'template') return FALSE
      if (pattern.value === '') return pattern.kind === 'exact' ? FALSE : hasValue(header)
      return text(header, pattern.kind, pattern.value)
    }),
  )
}

function matchesSomeMember(patterns: readonly StringMatch[], header: Input): readonly Predicate[] {
  return patterns.filter(canMatchMember).map((pattern) => {
    if (!('value' in pattern) || (pattern.value === '' && pattern.kind !== 'exact')) {
      return hasMembers(header)
    }
    if (pattern.value === '') return FALSE
    const literal = escapeRegex(pattern.value)
    const before = pattern.kind === 'suffix' ? '.*' : '(?:.*,)?[ \\t]*'
    const after = pattern.kind === 'prefix' ? '.*' : '[ \\t]*(?:,.*)?'
    return text(header, 'regex', `(?s)${before}${literal}${after}`)
  })
}

/** One regex for all: blank members aside, each member is one of the patterns. */
function matchesEveryMember(patterns: readonly StringMatch[], header: Input): Predicate {
  const members = patterns.filter(canMatchMember).flatMap((pattern) => {
    if (!('value' in pattern)) return ['[^,]+']
    const literal = escapeRegex(pattern.value)
    if (pattern.kind === 'exact') return pattern.value === '' ? [] : [literal]
    return pattern.kind === 'prefix' ? [`${literal}[^,]*`] : [`[^,]*${literal}`]
  })
  if (members.length === 0) return FALSE
  const member = `(?:${members.join('|')})[ \\t]*`
  return text(header, 'regex', `(?s)[ \\t,]*${member}(?:,[ \\t,]*${member})*(?:,[ \\t,]*)?`)
}
