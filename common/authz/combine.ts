/**
 * The whole policy set against one request: DESIGN §4's order, once, for the sidecar, `explain` and the differential tests.
 * In: the set, the request, a way to ask one policy's Rego. Out: the decision, its reason, and what was only recorded.
 * Guards come before it (guards.ts). Never allows on an error unless the policy says `onError: Allow`, and names it then.
 */
import { type Policy, type PolicySet, policyId } from '../policy-set.ts'
import { matchFacts, type RequestFacts, readFacts } from './evaluate.ts'
import type { RequestAttributes } from './request.ts'

/** What one policy's Rego said. `allowed` means "says true", whatever the action: a DENY that says true denies. */
export type RegoOutcome =
  | {
      readonly kind: 'result'
      readonly allowed: boolean
      /** The result when it is an object: `headers`, `http_status` and so on. */
      readonly object?: Readonly<Record<string, unknown>>
    }
  | { readonly kind: 'undefined' }
  | { readonly kind: 'error'; readonly code: string; readonly message: string }

/**
 * `matched`: a policy matched. `not-matched`: an ALLOW policy had to match and none did, or a required one did not.
 * `default-allow`, `default-deny`: no ALLOW policy on the workload. Otherwise the code of the error that decided.
 */
export type DecisionReason =
  | 'matched'
  | 'not-matched'
  | 'default-allow'
  | 'default-deny'
  | (string & {})

export interface AuthzDecision {
  readonly allowed: boolean
  /** `namespace/name` of the deciding policy, or `default`. */
  readonly policy: string
  /** `namespace/policy/rules[i]` when that policy has rules. */
  readonly rule?: string
  readonly reason: DecisionReason
  /** Shadow policies that matched or would have refused by an error; `default` for a default denial in Shadow mode. */
  readonly shadow: readonly string[]
  /** AUDIT policies that matched. */
  readonly audit: readonly string[]
  /** ALLOW policies that matched, in name order: their mutations apply in this order. Empty when denied. */
  readonly matchedAllow: readonly string[]
  /** Enforced policies whose Rego failed and whose `onError: Allow` let the request pass: to be counted. */
  readonly failedOpen: readonly string[]
  /** Policy whose result object gives the denial's status, headers and body; absent: the plain 403. */
  readonly denial?: string
  readonly error?: { readonly code: string; readonly message: string }
  /** What Rego said, by policy id, for each policy that was asked. */
  readonly outcomes: ReadonlyMap<string, RegoOutcome>
}

export const DEFAULT_POLICY = 'default'

type RegoEvaluator = (policy: Policy) => RegoOutcome

type Verdict =
  | { readonly kind: 'match' | 'no-match'; readonly rule?: string }
  | {
      readonly kind: 'error'
      readonly rule?: string
      readonly code: string
      readonly message: string
    }

/** What `decide` adds to a verdict. */
type Ruling = Pick<AuthzDecision, 'allowed' | 'policy' | 'reason'> &
  Partial<Pick<AuthzDecision, 'rule' | 'matchedAllow' | 'denial' | 'error'>> & {
    readonly isDefaultShadow?: boolean
    /** A DENY decided: nothing else is asked, as Envoy asks nothing else after its own DENY rules. */
    readonly isFinal?: boolean
  }

/**
 * The decision on one request. Policies of the set are in the set's order.
 * Rego is asked at most once per policy, only when the policy's rules matched and the answer can still change something;
 * on TCP never: there an ALLOW with Rego does not match and a DENY's Rego is dropped, as HTTP fields are.
 * AUDIT and Shadow policies are asked last, and only when no enforced DENY refused the request.
 */
export function decide(
  set: PolicySet,
  request: RequestAttributes,
  evaluateRego: RegoEvaluator,
): AuthzDecision {
  const run = new Evaluation(readFacts(request, set), evaluateRego)
  const enforced = set.policies.filter((p) => p.mode === 'Enforce')
  const ruling = decideDeny(enforced, run) ?? decideAllow(enforced, run) ?? decideByDefault(set)
  const { isDefaultShadow, isFinal, ...decision } = ruling
  const shadow = isFinal ? [] : recordShadow(set, run)
  return {
    matchedAllow: [],
    ...decision,
    shadow: isDefaultShadow ? [...shadow, DEFAULT_POLICY] : shadow,
    audit: isFinal ? [] : recordAudit(enforced, run),
    failedOpen: run.failedOpen,
    outcomes: run.outcomes,
  }
}

/** One request's evaluation: remembers what Rego said and which errors were let pass. */
class Evaluation {
  readonly outcomes = new Map<string, RegoOutcome>()
  readonly failedOpen: string[] = []
  readonly #facts: RequestFacts
  readonly #evaluateRego: RegoEvaluator

  constructor(facts: RequestFacts, evaluateRego: RegoEvaluator) {
    this.#facts = facts
    this.#evaluateRego = evaluateRego
  }

  verdict(policy: Policy): Verdict {
    const { matched, rule } = matchFacts(policy, this.#facts)
    const named = rule === undefined ? {} : { rule }
    if (!matched) return { kind: 'no-match' }
    if (policy.rego === undefined) return { kind: 'match', ...named }
    if (this.#facts.isTcp) {
      return policy.action === 'ALLOW'
        ? { kind: 'no-match', ...named }
        : { kind: 'match', ...named }
    }
    const outcome = this.#evaluateRego(policy)
    this.outcomes.set(policyId(policy), outcome)
    if (outcome.kind === 'error') return { ...named, ...outcome }
    const says = outcome.kind === 'result' && outcome.allowed
    return { kind: says ? 'match' : 'no-match', ...named }
  }

  /** Whether the verdict is an error that the policy's `onError: Allow` lets pass; remembers it to be counted. */
  isLetPass(policy: Policy, verdict: Verdict): boolean {
    if (verdict.kind !== 'error' || policy.onError === 'Deny') return false
    this.failedOpen.push(policyId(policy))
    return true
  }

  /** Whether an ALLOW policy counts as matched. */
  passes(policy: Policy, verdict: Verdict): boolean {
    return verdict.kind === 'match' || this.isLetPass(policy, verdict)
  }
}

function decideDeny(enforced: readonly Policy[], run: Evaluation): Ruling | undefined {
  for (const policy of enforced) {
    if (policy.action !== 'DENY') continue
    const verdict = run.verdict(policy)
    if (verdict.kind === 'no-match' || run.isLetPass(policy, verdict)) continue
    const ruling = { ...toRuling(policy, verdict, false), isFinal: true }
    return verdict.kind === 'match' ? withDenial(ruling, policyId(policy)) : ruling
  }
  return undefined
}

/** Undefined when the workload has no ALLOW policy. */
function decideAllow(enforced: readonly Policy[], run: Evaluation): Ruling | undefined {
  const policies = enforced.filter((p) => p.action === 'ALLOW')
  if (policies.length === 0) return undefined
  const matched: { readonly policy: Policy; readonly verdict: Verdict }[] = []
  let denial: string | undefined
  for (const policy of policies) {
    const verdict = run.verdict(policy)
    if (run.passes(policy, verdict)) {
      matched.push({ policy, verdict })
      continue
    }
    if (hasObject(run.outcomes.get(policyId(policy)))) denial ??= policyId(policy)
    // Neither an error nor a required policy can be outvoted by those that follow.
    if (verdict.kind === 'error' || policy.required) {
      return withDenial(toRuling(policy, verdict, false), denial)
    }
  }
  const [first] = matched
  if (first === undefined) {
    const policy = denial ?? DEFAULT_POLICY
    return withDenial({ allowed: false, policy, reason: 'not-matched' }, denial)
  }
  return {
    ...toRuling(first.policy, first.verdict, true),
    matchedAllow: matched.map((m) => policyId(m.policy)),
  }
}

function decideByDefault(set: PolicySet): Ruling {
  if (set.defaultAction === 'ALLOW') {
    return { allowed: true, policy: DEFAULT_POLICY, reason: 'default-allow' }
  }
  const isShadow = set.defaultMode === 'Shadow'
  return {
    allowed: isShadow,
    policy: DEFAULT_POLICY,
    reason: 'default-deny',
    isDefaultShadow: isShadow,
  }
}

function recordShadow(set: PolicySet, run: Evaluation): readonly string[] {
  return set.policies
    .filter((p) => p.mode === 'Shadow')
    .filter((p) => {
      const { kind } = run.verdict(p)
      return kind === 'match' || (kind === 'error' && p.onError === 'Deny')
    })
    .map(policyId)
}

function recordAudit(enforced: readonly Policy[], run: Evaluation): readonly string[] {
  return enforced
    .filter((p) => p.action === 'AUDIT' && run.verdict(p).kind === 'match')
    .map(policyId)
}

function toRuling(policy: Policy, verdict: Verdict, allowed: boolean): Ruling {
  const failed = verdict.kind === 'error'
  return {
    allowed,
    policy: policyId(policy),
    ...(verdict.rule === undefined ? {} : { rule: verdict.rule }),
    reason: failed ? verdict.code : verdict.kind === 'match' ? 'matched' : 'not-matched',
    ...(failed ? { error: { code: verdict.code, message: verdict.message } } : {}),
  }
}

function withDenial(ruling: Ruling, denial: string | undefined): Ruling {
  return denial === undefined ? ruling : { ...ruling, denial }
}

function hasObject(outcome: RegoOutcome | undefined): boolean {
  return outcome?.kind === 'result' && outcome.object !== undefined
}
