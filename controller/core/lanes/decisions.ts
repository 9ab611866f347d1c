/**
 * The parts that both RBAC filters are made of: the DENY tree, required policies, the ALLOW tree with its default.
 * In: the set and a chain. Out: entries and decisions in DESIGN §4's order, named as logs and `explain` name them.
 */
import { directionOf } from '../../../common/authz/evaluate.ts'
import { type Policy, type PolicySet, policyId, type Rule } from '../../../common/policy-set.ts'
import type { Matcher_OnMatch } from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import { findObstacle } from './obstacle.ts'
import { enforcedAllows } from './plan.ts'
import { any, not, type Predicate } from './predicate.ts'
import { type Chain, lowerRule } from './rule.ts'
import { buildRuleTree } from './rule-tree.ts'
import { action, type Entry } from './to-matcher.ts'

export const DEFAULT = 'default'

/** What the DENY policies refuse, of what Envoy can tell, else `otherwise`. */
export function denyDecision(
  policies: readonly Policy[],
  chain: Chain,
  otherwise: Matcher_OnMatch,
): Matcher_OnMatch {
  const rules = policies.filter((p) => p.action === 'DENY').flatMap((p) => loweredRules(p, chain))
  return buildRuleTree('DENY', rules, chain, otherwise) ?? otherwise
}

/** What a required ALLOW policy refuses: everything that it does not match. */
export function requiredEntries(policies: readonly Policy[], chain: Chain): readonly Entry[] {
  return policies
    .filter((p) => p.action === 'ALLOW' && p.required)
    .map((p) => ({ predicate: not(matchesRules(p, chain)), onMatch: action(policyId(p), 'DENY') }))
}

/** True when one of the policy's rules, of those that Envoy can tell, matches. */
export function matchesRules(policy: Policy, chain: Chain): Predicate {
  return any(
    loweredRules(policy, chain).map((r) => lowerRule(r, chain, directionOf(policy.action))),
  )
}

/** What the ALLOW policies allow, else `otherwise`; the default action when the set has no ALLOW policy. */
export function allowDecision(
  set: PolicySet,
  policies: readonly Policy[],
  chain: Chain,
  otherwise: Matcher_OnMatch,
): Matcher_OnMatch {
  if (enforcedAllows(set).length === 0) {
    return set.defaultAction === 'ALLOW' ? action(DEFAULT, 'ALLOW') : otherwise
  }
  const allows = policies.filter((p) => p.action === 'ALLOW')
  const rules = allows.flatMap((p) => loweredRules(p, chain))
  return buildRuleTree('ALLOW', rules, chain, otherwise) ?? otherwise
}

/** On TCP nothing can be left to the sidecar, and Envoy's bytes are the only ones: no rule has an obstacle there. */
function loweredRules(policy: Policy, chain: Chain): readonly Rule[] {
  const rules = policy.rules ?? []
  return chain.protocol === 'tcp' ? rules : rules.filter((r) => findObstacle(r) === undefined)
}
