/**
 * What Envoy must have answered, given what it showed an authorizer of the same request.
 * In: set, request, CheckRequest, response. Out: what is wrong with the answer, or undefined.
 */
import { type AuthzDecision, decide, type RegoOutcome } from '../../../common/authz/combine.ts'
import { matchPolicyRules } from '../../../common/authz/evaluate.ts'
import { findGuard } from '../../../common/authz/guards.ts'
import { type Policy, type PolicySet, policyId } from '../../../common/policy-set.ts'
import { PASS } from '../../../controller/core/lanes/http-rbac.ts'
import type { CheckRequest } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toAttributes as toInput } from '../../../sidecar/core/input/input.ts'
import type { RawResponse } from './http1.ts'
import { toAttributes, toRaw } from './observer.ts'
import type { RawRequest } from './random-request.ts'

export type Expected = Pick<AuthzDecision, 'allowed' | 'shadow' | 'audit'> & {
  readonly guard: boolean
}

/** What lane 3 answers to what Envoy shows it. */
export function expected(set: PolicySet, check: CheckRequest): Expected {
  if (findGuard(toRaw(check)) !== undefined) {
    return { allowed: false, shadow: [], audit: [], guard: true }
  }
  const attributes = toAttributes(check)
  return { ...decide(set, attributes, (policy) => syntheticRego(policy, check)), guard: false }
}

/** The same question for OPA: the plugin's input, and beside it what each policy's Rego said. */
export function toOracleInput(set: PolicySet, check: CheckRequest): unknown {
  const said = set.policies.map((policy) => {
    const outcome = syntheticRego(policy, check)
    return [policyId(policy), outcome.kind === 'result' ? String(outcome.allowed) : outcome.kind]
  })
  return { ...toInput(check), rego: Object.fromEntries(said) }
}

/** Stands for any Rego: an answer that depends on policy and request in no way that Envoy could know. */
function syntheticRego(policy: Policy, check: CheckRequest): RegoOutcome {
  const { method, path } = toAttributes(check)
  let hash = 0
  for (const char of `${policyId(policy)} ${method} ${path}`) {
    hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0
  }
  switch (hash % 5) {
    case 0:
      return { kind: 'undefined' }
    case 1:
      return { kind: 'error', code: 'ERR_POLICY_ERROR', message: 'synthetic' }
    default:
      return { kind: 'result', allowed: hash % 2 === 0 }
  }
}

/** What is wrong with Envoy's answer, if anything. */
export function judge(
  set: PolicySet,
  request: RawRequest,
  check: CheckRequest,
  response: RawResponse,
): string | undefined {
  const want = expected(set, check)
  // ext_authz is shown the first of several names: only Envoy's guard can tell.
  const allowed = want.allowed && request.peer !== 'several'
  if (response.status !== (allowed ? 200 : 403)) return `want ${allowed ? 200 : 403}`
  const enforced = enforcedName(response)
  if (want.guard || request.peer === 'several') {
    return enforced?.startsWith('guard/') ? undefined : `want a guard, got ${enforced}`
  }
  const isCalled = enforced === PASS && response.headers.get('x-shadow') !== 'allowed'
  if (!isCalled && want.shadow.length + want.audit.length > 0) return 'a record was lost'
  return enforced === PASS || enforced === 'default' ? undefined : judgeRule(set, check, enforced)
}

/** Name of slot 1's decision: on an answer from behind it by metadata, on its own denial by the response code details. */
function enforcedName(response: RawResponse): string | undefined {
  const details = response.headers.get('x-details') ?? ''
  const denied = /^rbac_access_denied_matched_policy\[(.*)\]$/.exec(details)?.[1]
  return denied ?? (details === '' ? response.headers.get('x-enforced') : PASS)
}

/** Whether the rule that Envoy names is one that matches. */
function judgeRule(
  set: PolicySet,
  check: CheckRequest,
  enforced: string | undefined,
): string | undefined {
  const named = findRule(set, enforced)
  if (named === undefined) return `no such rule: ${enforced}`
  const { matched } = matchPolicyRules(named.policy, toAttributes(check), set)
  return matched === named.matches ? undefined : `the named rule ${enforced} says otherwise`
}

/** The policy with only the named rule, and whether that must match; a policy's own name means that it must not. */
function findRule(
  set: PolicySet,
  id: string | undefined,
): { readonly policy: Policy; readonly matches: boolean } | undefined {
  for (const policy of set.policies) {
    if (policyId(policy) === id) return { policy, matches: false }
    const rules = policy.rules?.filter((r) => r.id === id)
    if (rules?.length === 1) return { policy: { ...policy, rules }, matches: true }
  }
  return undefined
}
