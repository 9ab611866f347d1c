/**
 * How each attribute of a request is tested in Envoy: pattern → predicate that is true exactly when the evaluator
 * (common/authz) says so, given that the guards stand before it. One attribute, one function here.
 */
import { encodedForm } from '../../../common/authz/path-match.ts'
import { cutQuery, lowerAscii, normaliseHost } from '../../../common/authz/request.ts'
import { type Direction, matchesText } from '../../../common/authz/text-match.ts'
import type { StringMatch, TemplateSegment, Term } from '../../../common/policy-set.ts'
import {
  all,
  any,
  constant,
  escapeRegex,
  escapeRegexIgnoringCase,
  FALSE,
  HOST,
  type Input,
  METHOD,
  not,
  PATH,
  type Predicate,
  TRUE,
  text,
  URI_SAN,
} from './predicate.ts'

/** An attribute with one value or none. Both parts are false when it is absent or empty. */
export interface Attribute {
  readonly isPresent: Predicate
  matches(pattern: StringMatch): Predicate
  /** `matches` for a term that closes, where that is more. */
  closes?(pattern: StringMatch): Predicate
}

/** The predicate of a term: `is` any of, `not` none of; absence as `Direction` says. */
export function lowerTextTerm(
  term: Term<StringMatch>,
  attribute: Attribute,
  direction: Direction,
): Predicate {
  const opens = (p: StringMatch) => attribute.matches(p)
  const closes = (p: StringMatch) => attribute.closes?.(p) ?? opens(p)
  const is = term.is.length === 0 ? TRUE : any(term.is.map(direction === 'deny' ? closes : opens))
  if (term.not.length === 0) return is
  const none = not(any(term.not.map(direction === 'deny' ? opens : closes)))
  return all(direction === 'allow' ? [is, attribute.isPresent, none] : [is, none])
}

/** On plaintext there is no identity, and asking Envoy for one would end the whole matcher (LOWERING, verdict 7). */
export const ABSENT: Attribute = { isPresent: FALSE, matches: () => FALSE }

export const principal: Attribute = plainAttribute(URI_SAN)

export const method: Attribute = plainAttribute(METHOD)

function plainAttribute(input: Input): Attribute {
  const isPresent = text(input, 'regex', '(?s).+')
  return {
    isPresent,
    matches: (pattern) =>
      literalMatch(pattern, isPresent, (kind, value) => text(input, kind, value)),
  }
}

/** What is common to all literal patterns: `*` is presence, so is an empty prefix or suffix; nothing present is empty. */
function literalMatch(
  pattern: StringMatch,
  isPresent: Predicate,
  build: (kind: 'exact' | 'prefix' | 'suffix', value: string) => Predicate,
): Predicate {
  if (pattern.kind === 'template') return FALSE
  if (pattern.kind === 'present') return isPresent
  if (pattern.value === '') return pattern.kind === 'exact' ? FALSE : isPresent
  return build(pattern.kind, pattern.value)
}

/** The port is known when the tree is built. */
export function portAttribute(port: number): Attribute {
  return { isPresent: TRUE, matches: (pattern) => constant(matchesText(pattern, String(port))) }
}

/** The namespace in a principal of one of these trust domains. */
export function namespaceAttribute(domains: readonly string[]): Attribute {
  const inEach = (namespace: string) =>
    any(
      domains.map((domain) =>
        text(URI_SAN, 'regex', `${escapeRegex(`spiffe://${domain}/ns/`)}${namespace}/sa/(?s:.*)`),
      ),
    )
  const isPresent = inEach('[^/]+')
  return {
    isPresent,
    matches: (pattern) =>
      literalMatch(pattern, isPresent, (kind, value) => {
        if (value.includes('/')) return FALSE
        if (kind === 'prefix') return inEach(`${escapeRegex(value)}[^/]*`)
        if (kind === 'suffix') return inEach(`[^/]*${escapeRegex(value)}`)
        return any(domains.map((d) => text(URI_SAN, 'prefix', namespacePrefix(d, value))))
      }),
  }
}

/** What every principal of a namespace starts with. */
export function namespacePrefix(domain: string, namespace: string): string {
  return `spiffe://${domain}/ns/${namespace}/sa/`
}

const QUERY = '(?:\\?.*)?'

/** `:path` has the query on it; guard/path has ensured printable ASCII. */
export const path: Attribute = {
  isPresent: text(PATH, 'regex', '[^?].*'),
  matches(pattern) {
    if (pattern.kind === 'template') return templateMatch(pattern.segments, escapeRegex)
    return literalMatch(pattern, path.isPresent, (kind, value) => {
      if (value !== cutQuery(value)) return FALSE
      if (kind === 'prefix') return text(PATH, 'prefix', value)
      if (kind === 'suffix') return text(PATH, 'regex', `[^?]*${escapeRegex(value)}${QUERY}`)
      return any([text(PATH, 'exact', value), text(PATH, 'prefix', `${value}?`)])
    })
  },
  closes(pattern) {
    if (pattern.kind === 'template') return templateMatch(pattern.segments, escapeInEitherForm)
    return literalMatch(pattern, path.isPresent, (kind, value) => {
      if (value !== cutQuery(value) || hasOneForm(value)) return path.matches(pattern)
      const literal = escapeInEitherForm(value)
      if (kind === 'prefix') return text(PATH, 'regex', `${literal}.*`)
      return text(PATH, 'regex', `${kind === 'suffix' ? '[^?]*' : ''}${literal}${QUERY}`)
    })
  },
}

/** Whether a literal of a path has no character that Envoy leaves in two forms, so that only the text as it is meets it. */
export function hasOneForm(literal: string): boolean {
  return Array.from(literal).every((char) => encodedForm(char) === undefined)
}

/** Literal text as RE2 that meets a character which Envoy doesn't decode in its encoded form too. */
export function escapeInEitherForm(literal: string): string {
  return Array.from(literal, (char) => {
    const form = encodedForm(char)
    if (form === undefined) return escapeRegex(char)
    const [first, last = ''] = form
    const digit = /[A-F]/.test(last) ? `[${last}${last.toLowerCase()}]` : last
    return `(?:${escapeRegex(char)}|%${first}${digit})`
  }).join('')
}

function templateMatch(
  segments: readonly TemplateSegment[],
  toRegex: (literal: string) => string,
): Predicate {
  if (segments.length === 0) return FALSE
  if (segments.some((s, i) => s.kind === 'any' && i < segments.length - 1)) return FALSE
  const parts = segments.map((s) => {
    if (s.kind === 'literal') return /[/?]/.test(s.value) ? undefined : toRegex(s.value)
    return s.kind === 'one' ? '[^/?]+' : '[^?]*'
  })
  return parts.includes(undefined) ? FALSE : text(PATH, 'regex', `/${parts.join('/')}${QUERY}`)
}

const HOST_TAIL = '\\.?(?::[0-9]*)?'
/** After a literal that ends in a dot: something, so that the dot is not the trailing one that is cut off. */
const AFTER_DOT = '(?s:[^:].*|:.*[^0-9].*)'

/** What `host.matches` can't say exactly, since the cut would reach into the literal. */
export function isHostExact(pattern: StringMatch): boolean {
  if (!('value' in pattern)) return true
  if (pattern.kind === 'prefix') return !pattern.value.includes(':')
  return (
    normaliseHost(pattern.value) === lowerAscii(pattern.value) && !/^[0-9]+$/.test(pattern.value)
  )
}

/** Any case, with or without one trailing dot and a port, as `normaliseHost` reads it. */
export const host: Attribute = {
  isPresent: all([text(HOST, 'regex', '(?s).+'), not(text(HOST, 'regex', HOST_TAIL))]),
  matches: (pattern) =>
    literalMatch(pattern, host.isPresent, (kind, value) => {
      if (lowerAscii(value) !== value) return FALSE
      const literal = escapeRegexIgnoringCase(value)
      if (kind === 'exact') return text(HOST, 'regex', `${literal}${HOST_TAIL}`)
      if (kind === 'suffix') return text(HOST, 'regex', `(?s:.*)${literal}${HOST_TAIL}`)
      return text(HOST, 'regex', `${literal}${value.endsWith('.') ? AFTER_DOT : '(?s:.*)'}`)
    }),
}
