/**
 * Checks of single rules: values that never match, or that match more than one thinks. In: the estate. Out: observations
 * at the very value. Each says what happens, not what is meant.
 */
import { checkMethod, normalisePath } from '../../../common/authz/arrival.ts'
import { formatMatch } from '../../../common/authz/trace.ts'
import type {
  Condition,
  Operation,
  Rule,
  Source,
  StringMatch,
  Term,
} from '../../../common/policy-set.ts'
import { coversText } from './cover.ts'
import type { Estate, RuleSubject } from './finding.ts'
import type { RuleObservation } from './rule-checks.ts'

type Check = (subject: RuleSubject, estate: Estate) => readonly Omit<RuleObservation, 'subject'>[]

/** The check on each rule. */
export function onRules(check: Check): (estate: Estate) => readonly RuleObservation[] {
  return (estate) =>
    estate.rules.flatMap((rule) =>
      check(rule, estate).map((o) => ({ subject: rule.subject, ...o })),
    )
}

export const findPrefixWithoutSlash = onRules(({ subject, rule, field }) => {
  if (subject.policy.action !== 'ALLOW') return []
  return operationsOf(rule, field).flatMap(({ operation, at }) =>
    operation.paths.is.flatMap((path, i) => {
      if (path.kind !== 'prefix' || path.value.endsWith('/')) return []
      const { value } = path
      const message = `${value}* also allows ${value}-internal and ${value}x/…`
      return [{ field: `${at}.paths[${i}]`, message }]
    }),
  )
})

export const findImpossiblePaths = onRules(({ subject, rule, field }) =>
  operationsOf(rule, field).flatMap(({ operation, at }) =>
    operation.paths.is.flatMap((path, i) => {
      if (path.kind !== 'exact') return []
      const seen = normalisePath(path.value)
      if (seen.ok && seen.value === path.value) return []
      const why = seen.ok ? `it arrives as ${seen.value}` : seen.why
      const message = `no request has the path ${path.value}: ${why}`
      return [{ field: `${at}.paths[${i}]`, message, ...severityIn(subject.policy.action) }]
    }),
  ),
)

export const findImpossibleMethods = onRules(({ subject, rule, field }) =>
  operationsOf(rule, field).flatMap(({ operation, at }) =>
    operation.methods.is.flatMap((method, i) => {
      if (method.kind !== 'exact' || checkMethod(method.value, true).ok) return []
      const message = `no HTTP/1.1 request has the method ${method.value}`
      return [{ field: `${at}.methods[${i}]`, message, ...severityIn(subject.policy.action) }]
    }),
  ),
)

export const findUnservedPorts = onRules(({ subject, rule, field }) => {
  const served = new Set(subject.workloads.flatMap((w) => w.inbound.map((p) => p.port)))
  if (served.size === 0) return []
  return operationsOf(rule, field).flatMap(({ operation, at }) =>
    operation.ports.is.flatMap((port, i) => {
      if (served.has(port)) return []
      const message = `no selected workload serves port ${port}; they serve ${[...served].sort((a, b) => a - b).join(', ')}`
      return [{ field: `${at}.ports[${i}]`, message, ...severityIn(subject.policy.action) }]
    }),
  )
})

export const findContradictions = onRules(({ rule, field }) =>
  termsOf(rule, field).flatMap(({ term, at }) => {
    const isEmpty =
      term.is.length > 0 && term.is.every((is) => term.not.some((not) => coversText(not, is)))
    return isEmpty
      ? [{ field: at, message: 'never matches: its negation takes all of it away' }]
      : []
  }),
)

export const findOnlyNegations = onRules(({ subject, rule, field }) => {
  if (subject.policy.action !== 'DENY') return []
  const terms = allTerms(rule, field)
  const isNegative = terms.length > 0 && terms.every(({ term }) => term.is.length === 0)
  if (!isNegative) return []
  const names = terms.map(({ at }) => at.slice(at.lastIndexOf('.') + 1)).join(', ')
  const message = `denies everything but what ${names} name, also callers without the attribute`
  return [{ field, message }]
})

export const findStarHeaders = onRules(({ subject, rule, field }) => {
  if (subject.policy.action !== 'DENY') return []
  return rule.when.flatMap((condition, i) => {
    if ('blocks' in condition || condition.key.kind !== 'header') return []
    const at = condition.values.is.findIndex((v) => v.kind === 'present')
    if (at === -1) return []
    const message = `an empty ${condition.key.name} is absent, so it is not denied`
    return [{ field: `${field}.when[${i}].values[${at}]`, message }]
  })
})

export const findUnknownPrincipals = onRules(({ rule, field }, estate) => {
  if (estate.workloads.length === 0) return []
  return sourcesOf(rule, field).flatMap(({ source, at }) =>
    source.principals.is.flatMap((match) => {
      const message = whyUnknown(match, estate)
      return message === undefined ? [] : [{ field: `${at}.principals`, message }]
    }),
  )
})

function whyUnknown(match: StringMatch, { mesh, workloads }: Estate): string | undefined {
  if (match.kind !== 'exact' && match.kind !== 'prefix') return undefined
  const domain = /^spiffe:\/\/([^/]+)\//.exec(match.value)?.[1]
  // The start of a name says nothing yet; an alias stands beside the name itself.
  if (domain === undefined || mesh.trustDomainAliases.includes(domain)) return undefined
  const name = formatMatch(match)
  if (domain !== mesh.trustDomain)
    return `${name} is of a foreign trust domain, whose certificates are refused`
  const isKnown = workloads.some(({ spiffeId: value }) =>
    coversText(match, { kind: 'exact', value }),
  )
  return isKnown ? undefined : `no WorkloadEntry here has the identity ${name}`
}

export const findUnknownNamespaces = onRules(({ rule, field }, { workloads }) => {
  if (workloads.length === 0) return []
  return sourcesOf(rule, field).flatMap(({ source, at }) =>
    source.namespaces.is.flatMap((match, i) => {
      const isKnown = workloads.some((w) =>
        coversText(match, { kind: 'exact', value: w.namespace }),
      )
      const message = `no WorkloadEntry here is in namespace ${formatMatch(match)}`
      return isKnown ? [] : [{ field: `${at}.namespaces[${i}]`, message }]
    }),
  )
})

/** What never matches opens nothing in an ALLOW; in a DENY it leaves open what was to be closed. */
function severityIn(action: string): { readonly severity?: 'error' } {
  return action === 'DENY' ? { severity: 'error' } : {}
}

interface NamedTerm {
  readonly at: string
  readonly term: Term<unknown>
}

export function sourcesOf(rule: Rule, field: string) {
  return rule.from.map((source, i) => ({ source, at: `${field}.from[${i}].source` }))
}

export function operationsOf(rule: Rule, field: string) {
  return rule.to.map((operation, i) => ({ operation, at: `${field}.to[${i}].operation` }))
}

/** Terms of text that stand in the rule. */
function termsOf(
  rule: Rule,
  field: string,
): readonly { readonly at: string; readonly term: Term<StringMatch> }[] {
  const sources = sourcesOf(rule, field).flatMap(({ source, at }) =>
    (['principals', 'namespaces'] as const).map((n) => ({ at: `${at}.${n}`, term: source[n] })),
  )
  const operations = operationsOf(rule, field).flatMap(({ operation, at }) =>
    (['hosts', 'methods', 'paths'] as const).map((n) => ({ at: `${at}.${n}`, term: operation[n] })),
  )
  const conditions = rule.when.flatMap((c, i) =>
    'blocks' in c ? [] : [{ at: `${field}.when[${i}].values`, term: c.values }],
  )
  return [...sources, ...operations, ...conditions].filter(({ term }) => isThere(term))
}

/** Every term that stands in the rule, under the name by which it is written. */
function allTerms(rule: Rule, field: string): readonly NamedTerm[] {
  const named = (at: string, name: string, term: Term<unknown>): NamedTerm => ({
    at: `${at}.${term.is.length > 0 ? name : `not${name.charAt(0).toUpperCase()}${name.slice(1)}`}`,
    term,
  })
  const ofSource = (source: Source, at: string) =>
    Object.entries(source).map(([name, term]) => named(at, name, term as Term<unknown>))
  const ofOperation = (operation: Operation, at: string) =>
    Object.entries(operation).map(([name, term]) => named(at, name, term as Term<unknown>))
  const ofCondition = (c: Condition, at: string) =>
    named(at, 'values', 'blocks' in c ? c.blocks : c.values)
  return [
    ...sourcesOf(rule, field).flatMap(({ source, at }) => ofSource(source, at)),
    ...operationsOf(rule, field).flatMap(({ operation, at }) => ofOperation(operation, at)),
    ...rule.when.map((c, i) => ofCondition(c, `${field}.when[${i}]`)),
  ].filter(({ term }) => isThere(term))
}

function isThere({ is, not }: Term<unknown>): boolean {
  return is.length + not.length > 0
}
