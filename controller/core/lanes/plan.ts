/**
 * Which lane each rule of a set takes, and why: `postern explain` shows it, the builders obey it.
 * Envoy decides alone only when it gives the same answer as the sidecar and nothing else would be recorded.
 * Must never choose Envoy where it could be more open than the sidecar (DESIGN §5, LOWERING verdict 5).
 */
import { type Policy, type PolicySet, policyId } from '../../../common/policy-set.ts'
import { findObstacle } from './obstacle.ts'

export interface RulePlan {
  /** The rule's id; the policy's when it has no rules; `default` for the default action. */
  readonly id: string
  /** `namespace/name`, or `default`. */
  readonly policy: string
  readonly lane: 'rbac' | 'ext_authz'
  /** Why, as a clause for a reader: lower case, no period. */
  readonly reason: string
}

export interface LanePlan {
  /** `rbac`: Envoy decides all. `mixed`: what Envoy can't decide, or what is recorded, goes to the sidecar. */
  readonly mode: 'rbac' | 'mixed'
  /** Whether some Rego may read the body, which Envoy then buffers. */
  readonly readsBody: boolean
  readonly rules: readonly RulePlan[]
}

export function planLanes(set: PolicySet): LanePlan {
  const rules = [...set.policies.flatMap(planPolicy), ...planDefault(set)]
  return {
    mode: rules.some((r) => r.lane === 'ext_authz') ? 'mixed' : 'rbac',
    readsBody: set.policies.some((p) => p.rego?.readsBody === true),
    rules,
  }
}

/** Why the sidecar must read the policy itself, whatever its rules are; undefined when its rules say all. */
export function findSidecarReason(policy: Policy): string | undefined {
  if (matchesNothing(policy)) return undefined
  if (policy.mode === 'Shadow') return 'Shadow is recorded by the sidecar'
  if (policy.action === 'AUDIT') return 'AUDIT is recorded by the sidecar'
  return policy.rego === undefined ? undefined : 'Rego is evaluated by the sidecar'
}

/** The enforced ALLOW and DENY policies that Envoy decides by their rules alone. */
export function plainPolicies(set: PolicySet): readonly Policy[] {
  return set.policies.filter(
    (p) => p.mode === 'Enforce' && p.action !== 'AUDIT' && findSidecarReason(p) === undefined,
  )
}

function matchesNothing(policy: Policy): boolean {
  return policy.rules === undefined ? policy.rego === undefined : policy.rules.length === 0
}

/** ALLOW policies whose presence means that one must match. */
export function enforcedAllows(set: PolicySet): readonly Policy[] {
  return set.policies.filter((p) => p.action === 'ALLOW' && p.mode === 'Enforce')
}

function planPolicy(policy: Policy): readonly RulePlan[] {
  const name = policyId(policy)
  const whole = findSidecarReason(policy)
  if (matchesNothing(policy)) {
    return [{ id: name, policy: name, lane: 'rbac', reason: 'it has no rule and matches nothing' }]
  }
  if (policy.rules === undefined) {
    return [{ id: name, policy: name, lane: 'ext_authz', reason: whole ?? 'it has no rules' }]
  }
  return policy.rules.map((rule) => {
    const reason = whole ?? findObstacle(rule)
    return reason === undefined
      ? { id: rule.id, policy: name, lane: 'rbac', reason: 'Envoy matches every term exactly' }
      : { id: rule.id, policy: name, lane: 'ext_authz', reason }
  })
}

function planDefault(set: PolicySet): readonly RulePlan[] {
  if (enforcedAllows(set).length > 0) return []
  const isRecorded = set.defaultAction === 'DENY' && set.defaultMode === 'Shadow'
  return [
    isRecorded
      ? {
          id: 'default',
          policy: 'default',
          lane: 'ext_authz',
          reason: 'default denials in Shadow mode are recorded by the sidecar',
        }
      : {
          id: 'default',
          policy: 'default',
          lane: 'rbac',
          reason: `no ALLOW policy: the default action is ${set.defaultAction}`,
        },
  ]
}
