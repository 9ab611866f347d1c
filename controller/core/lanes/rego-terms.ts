/**
 * Terms of declarative rules as Rego expressions, over the variables that to-rego.ts declares (`principal`, `path` …).
 * In: a term and its direction. Out: expressions that must all hold. What is negated stands in a helper rule of its own:
 * inside `not`, OPA evaluates nested calls first, and one undefined argument would undefine the whole body.
 */
import { canMatchMember } from '../../../common/authz/header-match.ts'
import type { Direction } from '../../../common/authz/text-match.ts'
import type { StringMatch, TemplateSegment, Term } from '../../../common/policy-set.ts'
import { escapeInEitherForm } from './attributes.ts'
import { escapeRegex } from './predicate.ts'

/** Collects helper rules; `some` and `test` give the name under which they are called. */
export interface RegoWriter {
  readonly lines: readonly string[]
  /** A rule that holds when one of the bodies does. */
  some(bodies: readonly string[]): string
  /** The same of one argument, `m`. */
  test(bodies: readonly string[]): string
}

export function createRegoWriter(): RegoWriter {
  const lines: string[] = []
  let next = 0
  const write = (parameter: string, bodies: readonly string[]): string => {
    const name = `is_${next++}`
    for (const body of bodies.length === 0 ? ['false'] : bodies) {
      lines.push(`${name}${parameter} if { ${body} }`)
    }
    return name
  }
  return { lines, some: (bodies) => write('', bodies), test: (bodies) => write('(m)', bodies) }
}

/** Rego's string literals are JSON's. */
export function quote(text: string): string {
  // opa refuses a byte order mark in a source, wherever it stands
  return JSON.stringify(text).replaceAll('\ufeff', '\\ufeff')
}

export type ToTest = (pattern: StringMatch) => string

/** A term on a variable that is undefined, never empty, when the attribute is absent. */
export function textTerm(
  term: Term<StringMatch>,
  variable: string,
  direction: Direction,
  writer: RegoWriter,
): readonly string[] {
  const opens: ToTest = (p) => testOf(p, variable, escapeRegex)
  const closes: ToTest = variable === 'path' ? closesPath : opens
  const [is, not] = direction === 'deny' ? [closes, opens] : [opens, closes]
  return [
    ...(term.is.length === 0 ? [] : [oneOf(term.is.map(is), writer)]),
    ...(term.not.length === 0 ? [] : noneOf(term.not.map(not), variable, direction, writer)),
  ]
}

/** A term on addresses; an address in `blocks` is that of OPA's `net.cidr_contains`. */
export function addressTerm(
  term: Term<string>,
  direction: Direction,
  writer: RegoWriter,
): readonly string[] {
  const test = (block: string) => `net.cidr_contains(${quote(block)}, address)`
  return [
    ...(term.is.length === 0 ? [] : [oneOf(term.is.map(test), writer)]),
    ...(term.not.length === 0 ? [] : noneOf(term.not.map(test), 'address', direction, writer)),
  ]
}

/** A term on a header, as common/authz/header-match.ts reads it. */
export function headerTerm(
  term: Term<StringMatch>,
  name: string,
  direction: Direction,
  writer: RegoWriter,
): readonly string[] {
  if (term.is.length === 0 && term.not.length === 0) return []
  const value = `header(${quote(name)})`
  const ofValue: ToTest = (p) => testOf(p, value, escapeRegex)
  const ofMember = (patterns: readonly StringMatch[]) =>
    patterns.filter(canMatchMember).map((p) => testOf(p, 'm', escapeRegex))
  const inMembers = (patterns: readonly StringMatch[]) =>
    ofMember(patterns).map((test) => `some m in members(${value}); ${test}`)
  const hasMembers = `count(members(${value})) > 0`
  if (direction === 'allow') {
    const none = [...term.not.map(ofValue), ...inMembers(term.not)]
    return [
      hasMembers,
      ...(term.is.length === 0 ? [] : [oneOf(term.is.map(ofValue), writer)]),
      ...(term.not.length === 0 ? [] : [`not ${writer.some(none)}`]),
    ]
  }
  const some = [...term.is.map(ofValue), ...inMembers(term.is)]
  const isSaved = () => {
    const listed = term.not.filter((p) => p.kind === 'exact').map(ofValue)
    const every = `every m in members(${value}) { ${writer.test(ofMember(term.not))}(m) }`
    const bodies = [...listed, `${oneOf(term.not.map(ofValue), writer)}; ${every}`]
    return writer.some(bodies.map((body) => `${hasMembers}; ${body}`))
  }
  return [
    ...(term.is.length === 0 ? [] : [oneOf(some, writer)]),
    ...(term.not.length === 0 ? [] : [`not ${isSaved()}`]),
  ]
}

/** The one test, or a helper rule of all of them. */
export function oneOf(tests: readonly string[], writer: RegoWriter): string {
  const [only] = tests
  return tests.length === 1 && only !== undefined ? only : writer.some(tests)
}

/** Absence never helps an ALLOW. */
function noneOf(
  tests: readonly string[],
  variable: string,
  direction: Direction,
  writer: RegoWriter,
): readonly string[] {
  const none = `not ${writer.some(tests)}`
  return direction === 'allow' ? [`${variable} != ""`, none] : [none]
}

function testOf(
  pattern: StringMatch,
  operand: string,
  toRegex: (literal: string) => string,
): string {
  switch (pattern.kind) {
    case 'exact':
      return pattern.value === '' ? 'false' : `${operand} == ${quote(pattern.value)}`
    case 'prefix':
      return `startswith(${operand}, ${quote(pattern.value)})`
    case 'suffix':
      return `endswith(${operand}, ${quote(pattern.value)})`
    case 'present':
      return `${operand} != ""`
    case 'template':
      return templateTest(pattern.segments, operand, toRegex)
  }
}

/** A path in a term that closes: each delimiter counts in its encoded form too (common/authz/path-match.ts). */
function closesPath(pattern: StringMatch): string {
  const plain = testOf(pattern, 'path', escapeInEitherForm)
  if (!('value' in pattern)) return plain
  const literal = escapeInEitherForm(pattern.value)
  if (literal === escapeRegex(pattern.value)) return plain
  const [start, end] = [pattern.kind === 'suffix' ? '' : '^', pattern.kind === 'prefix' ? '' : '$']
  return `regex.match(${quote(`${start}${literal}${end}`)}, path)`
}

function templateTest(
  segments: readonly TemplateSegment[],
  operand: string,
  toRegex: (literal: string) => string,
): string {
  const isMisplaced = segments.some(
    (s, i) =>
      (s.kind === 'any' && i < segments.length - 1) ||
      (s.kind === 'literal' && s.value.includes('/')),
  )
  if (segments.length === 0 || isMisplaced) return 'false'
  const parts = segments.map((s) => {
    if (s.kind === 'literal') return toRegex(s.value)
    return s.kind === 'one' ? '[^/]+' : '(?s:.*)'
  })
  return `regex.match(${quote(`^/${parts.join('/')}$`)}, ${operand})`
}
