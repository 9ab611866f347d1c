/**
 * The name that an RBAC action has in Envoy → policy, rule and reason of a decision record.
 * Names: `namespace/policy/rules[i]`, `namespace/policy`, `guard/<name>`, `default`; absent or `none`: nothing matched.
 */
import { type PolicySet, policyId } from '../../../common/policy-set.ts'

export interface RbacRuling {
  readonly allowed: boolean
  readonly name: string | undefined
}

export interface NamedRuling {
  readonly policy: string
  readonly rule?: string
  readonly reason: string
}

const DEFAULT = 'default'
const RULE = /^([^/]+\/[^/]+)\/rules\[\d+\]$/

export function nameRuling(ruling: RbacRuling, set: PolicySet | undefined): NamedRuling {
  const { allowed, name } = ruling
  if (name === undefined || name === 'none' || name === DEFAULT)
    return { policy: DEFAULT, reason: defaultReason(allowed, set) }
  const policy = RULE.exec(name)?.[1] ?? name
  return {
    policy,
    ...(policy === name ? {} : { rule: name }),
    reason: isUnmatched(ruling, policy, set) ? 'not-matched' : 'matched',
  }
}

/** An ALLOW policy refuses by not matching: it was required. */
function isUnmatched(ruling: RbacRuling, policy: string, set: PolicySet | undefined): boolean {
  return !ruling.allowed && set?.policies.find((p) => policyId(p) === policy)?.action === 'ALLOW'
}

function defaultReason(allowed: boolean, set: PolicySet | undefined): string {
  if (allowed) return 'default-allow'
  const hasAllow = set?.policies.some((p) => p.action === 'ALLOW' && p.mode === 'Enforce')
  return hasAllow === true ? 'not-matched' : 'default-deny'
}
