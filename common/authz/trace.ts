/**
 * Why a policy set decides as it does: each rule's first term that failed, what Rego said, who decided. For `explain`.
 * In: the set, the request, the decision of `decide`. Out: a line of reasons for each policy, in the set's order.
 * Nothing is matched here: every question goes to the evaluator, about the rule cut down to one of its terms, so that an
 * explanation can't differ from the decision that it explains.
 */
import {
  type Condition,
  type Operation,
  type Policy,
  type PolicySet,
  policyId,
  type Rule,
  type Source,
  type StringMatch,
  type TemplateSegment,
  type Term,
} from '../policy-set.ts'
import type { AuthzDecision, RegoOutcome } from './combine.ts'
import { matchFacts, type RequestFacts, readFacts } from './evaluate.ts'
import type { RequestAttributes } from './request.ts'

/** One term that did not hold. */
export interface Miss {
  /** As in the manifest: `from[0].source.principals`, `to[1].operation.notPaths`, `when[0].values`. */
  readonly field: string
  /** What the term lists, as in the manifest. */
  readonly wants: readonly string[]
  /** What the request has; absent: it has no such thing. */
  readonly has?: string
}

export interface RuleTrace {
  readonly id: string
  readonly matched: boolean
  /** Of each alternative of the first part (`from`, `to`, then `when`) that failed, its first term. */
  readonly misses: readonly Miss[]
}

/**
 * `match`, `no match`: as `decide` counts it. `error`: its Rego failed. `not asked`: its rules matched, and its Rego was
 * not asked since the decision was made without it.
 */
export type PolicyVerdict = 'match' | 'no match' | 'error' | 'not asked'

export interface PolicyTrace {
  /** `namespace/name`. */
  readonly policy: string
  readonly action: Policy['action']
  readonly mode: Policy['mode']
  readonly required: boolean
  readonly verdict: PolicyVerdict
  readonly decides: boolean
  /** Absent: the policy has no rules. */
  readonly rules?: readonly RuleTrace[]
  /** Present when its Rego was asked. */
  readonly rego?: RegoOutcome
}

export function tracePolicies(
  set: PolicySet,
  request: RequestAttributes,
  decision: Pick<AuthzDecision, 'policy' | 'outcomes'>,
): readonly PolicyTrace[] {
  const facts = readFacts(request, set)
  return set.policies.map((policy) => {
    const id = policyId(policy)
    const rego = decision.outcomes.get(id)
    return {
      policy: id,
      action: policy.action,
      mode: policy.mode,
      required: policy.required,
      verdict: verdictOf(policy, facts, rego),
      decides: id === decision.policy,
      ...(policy.rules === undefined
        ? {}
        : { rules: policy.rules.map((rule) => traceRule(policy, rule, facts)) }),
      ...(rego === undefined ? {} : { rego }),
    }
  })
}

function verdictOf(
  policy: Policy,
  facts: RequestFacts,
  rego: RegoOutcome | undefined,
): PolicyVerdict {
  if (!matchFacts(policy, facts).matched) return 'no match'
  if (policy.rego === undefined) return 'match'
  if (facts.isTcp) return policy.action === 'ALLOW' ? 'no match' : 'match'
  if (rego === undefined) return 'not asked'
  if (rego.kind === 'error') return 'error'
  return rego.kind === 'result' && rego.allowed ? 'match' : 'no match'
}

function traceRule(policy: Policy, rule: Rule, facts: RequestFacts): RuleTrace {
  const holds = (part: Partial<Rule>) => {
    const cut: Rule = { id: rule.id, from: [], to: [], when: [], ...part }
    return matchFacts({ ...policy, rules: [cut] }, facts).matched
  }
  const { id } = rule
  if (holds(rule)) return { id, matched: true, misses: [] }
  if (!holds({ from: rule.from })) {
    return { id, matched: false, misses: rule.from.flatMap((s, i) => inSource(s, i, holds, facts)) }
  }
  if (!holds({ to: rule.to })) {
    return {
      id,
      matched: false,
      misses: rule.to.flatMap((o, i) => inOperation(o, i, holds, facts)),
    }
  }
  const misses = rule.when.flatMap((c, i) => inCondition(c, i, holds, facts)).slice(0, 1)
  return { id, matched: false, misses }
}

type Holds = (part: Partial<Rule>) => boolean

const NONE: Term<never> = { is: [], not: [] }
const ANY_SOURCE: Source = { principals: NONE, namespaces: NONE, ipBlocks: NONE }
const ANY_OPERATION: Operation = { hosts: NONE, ports: NONE, methods: NONE, paths: NONE }

function inSource(source: Source, i: number, holds: Holds, facts: RequestFacts): readonly Miss[] {
  const at = `from[${i}].source`
  const has = {
    principals: () => facts.principal,
    namespaces: facts.namespace,
    ipBlocks: () => facts.sourceText,
  }
  const terms = (['principals', 'namespaces', 'ipBlocks'] as const).map((name) => ({
    name,
    term: source[name],
    has: has[name],
    holds: (term: Term<never>) => holds({ from: [{ ...ANY_SOURCE, [name]: term }] }),
  }))
  return firstMiss(at, terms)
}

function inOperation(
  operation: Operation,
  i: number,
  holds: Holds,
  facts: RequestFacts,
): readonly Miss[] {
  const at = `to[${i}].operation`
  const has = {
    ports: () => String(facts.port),
    methods: () => facts.method,
    paths: () => facts.path,
    hosts: facts.host,
  }
  const terms = (['ports', 'methods', 'paths', 'hosts'] as const).map((name) => ({
    name,
    term: operation[name],
    has: has[name],
    holds: (term: Term<never>) => holds({ to: [{ ...ANY_OPERATION, [name]: term }] }),
  }))
  return firstMiss(at, terms)
}

function inCondition(
  condition: Condition,
  i: number,
  holds: Holds,
  facts: RequestFacts,
): readonly Miss[] {
  const at = `when[${i}]`
  const isAddress = 'blocks' in condition
  const term: Term<unknown> = isAddress ? condition.blocks : condition.values
  const cut = (part: Term<never>): Condition =>
    isAddress ? { ...condition, blocks: part } : { ...condition, values: part }
  const miss = firstMiss(at, [
    {
      name: 'values',
      term,
      has: () => conditionValue(condition, facts),
      holds: (part: Term<never>) => holds({ when: [cut(part)] }),
    },
  ])
  return miss.map((m) => ({ ...m, field: `${m.field} (${keyText(condition)})` }))
}

interface Part {
  readonly name: string
  readonly term: Term<unknown>
  readonly has: () => string | undefined
  /** Whether the rule with nothing but this term holds. */
  readonly holds: (term: Term<never>) => boolean
}

/** The first of these terms, or of their negations, that does not hold. */
function firstMiss(at: string, parts: readonly Part[]): readonly Miss[] {
  for (const { name, term, has, holds } of parts) {
    // Only ever put back where it was taken from.
    const { is, not } = term as Term<never>
    const field = holds({ is, not: [] })
      ? holds({ is: [], not })
        ? undefined
        : negated(name)
      : name
    if (field === undefined) continue
    const value = has()
    const wants = (field === name ? is : not).map(formatValue)
    return [{ field: `${at}.${field}`, wants, ...(value === undefined ? {} : { has: value }) }]
  }
  return []
}

function negated(name: string): string {
  return `not${name.charAt(0).toUpperCase()}${name.slice(1)}`
}

function conditionValue({ key }: Condition, facts: RequestFacts): string | undefined {
  switch (key.kind) {
    case 'header':
      return Object.hasOwn(facts.headers, key.name) ? facts.headers[key.name] : undefined
    case 'source.principal':
      return facts.principal
    case 'source.namespace':
      return facts.namespace()
    case 'source.ip':
      return facts.sourceText
    case 'destination.port':
      return String(facts.port)
  }
}

function keyText({ key }: Condition): string {
  return key.kind === 'header' ? `request.headers[${key.name}]` : key.kind
}

function formatValue(value: unknown): string {
  return typeof value === 'object' && value !== null
    ? formatMatch(value as StringMatch)
    : String(value)
}

/** As a user writes it. */
export function formatMatch(match: StringMatch): string {
  switch (match.kind) {
    case 'exact':
      return match.value
    case 'prefix':
      return `${match.value}*`
    case 'suffix':
      return `*${match.value}`
    case 'present':
      return '*'
    case 'template':
      return `/${match.segments.map(formatSegment).join('/')}`
  }
}

function formatSegment(segment: TemplateSegment): string {
  if (segment.kind === 'literal') return segment.value
  return segment.kind === 'one' ? '{*}' : '{**}'
}
