/**
 * The network RBAC filter of one inbound TCP filter chain: the whole policy set, since nothing else decides there.
 * HTTP fields never match in an ALLOW and are dropped in a DENY; so is Rego, which can't be asked about a connection.
 * AUDIT and Shadow policies have no part in it: the access log records them. Envoy decides on the client's first byte.
 */
import { create } from '@bufbuild/protobuf'
import { type Policy, type PolicySet, policyId } from '../../../common/policy-set.ts'
import {
  type RBAC,
  RBACSchema,
} from '../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { allowDecision, DEFAULT, denyDecision, requiredEntries } from './decisions.ts'
import { buildGuards } from './guards.ts'
import type { ChainOptions } from './http-rbac.ts'
import { TRUE } from './predicate.ts'
import type { Chain } from './rule.ts'
import { action, type Entry, list, toMatcher } from './to-matcher.ts'

export function buildNetworkRbac(set: PolicySet, options: ChainOptions): RBAC {
  const chain: Chain = { protocol: 'tcp', domains: set, ...options }
  const policies = set.policies.filter((p) => p.mode === 'Enforce').map(withoutRego)
  const isOpen = set.defaultMode === 'Shadow' || set.defaultAction === 'ALLOW'
  const hasAllow = policies.some((p) => p.action === 'ALLOW')
  const otherwise = action(DEFAULT, isOpen && !hasAllow ? 'ALLOW' : 'DENY')
  const allowed = allowDecision(set, policies, chain, otherwise)
  const required = list(requiredEntries(policies, chain), allowed) ?? otherwise
  const deniedAll = policies
    .filter(isDenyOfAll)
    .map((p): Entry => ({ predicate: TRUE, onMatch: denied(p) }))
  const refused = list(deniedAll, denyDecision(policies, chain, required)) ?? otherwise
  return create(RBACSchema, {
    statPrefix: 'rbac',
    shadowRulesStatPrefix: 'low_',
    matcher: toMatcher(list(buildGuards(chain), refused) ?? otherwise),
  })
}

/** An ALLOW with Rego matches no connection; a DENY with Rego is what its rules are, or everything. */
function withoutRego(policy: Policy): Policy {
  return policy.rego !== undefined && policy.action === 'ALLOW' ? { ...policy, rules: [] } : policy
}

function isDenyOfAll(policy: Policy): boolean {
  return policy.action === 'DENY' && policy.rules === undefined && policy.rego !== undefined
}

function denied(policy: Policy): Entry['onMatch'] {
  return action(policyId(policy), 'DENY')
}
