/**
 * The rules that bench/rules.ts measures: n rules by principal, by path, or by both, as policies of at most 160 rules
 * (what one AuthorizationPolicy may have), and the same n as Istio writes them: one flat RBAC policy for each rule.
 */
import type { JsonObject } from '@bufbuild/protobuf'
import { comparePolicies, type PolicySet, type Rule } from '../common/policy-set.ts'
import { is, makePolicy, operation, source } from '../test/kit/policies.ts'

export type By = 'principal' | 'path' | 'both'

const RULES_PER_POLICY = 160

export function principalOf(i: number): string {
  return `spiffe://td/ns/shop/sa/caller-${i}`
}

export function pathOf(i: number): string {
  return `/items/kind-${i}/list`
}

function ruleOf(by: By, i: number): Partial<Rule> {
  return {
    ...(by === 'path' ? {} : { from: [source({ principals: is(principalOf(i)) })] }),
    ...(by === 'principal'
      ? {}
      : { to: [operation({ methods: is('GET'), paths: is(pathOf(i)) })] }),
  }
}

/** DENY rules stand before an ALLOW for everybody. */
export function makeRules(by: By, count: number, action: 'ALLOW' | 'DENY'): PolicySet {
  const policies = Array.from({ length: Math.ceil(count / RULES_PER_POLICY) }, (_, n) =>
    makePolicy({
      name: `p${n}`,
      action,
      rules: Array.from(
        { length: Math.min(RULES_PER_POLICY, count - n * RULES_PER_POLICY) },
        (_, i) => ruleOf(by, n * RULES_PER_POLICY + i),
      ),
    }),
  )
  const open = action === 'DENY' ? [makePolicy({ name: 'open', rules: [{}] })] : []
  return {
    workload: 'ns/app',
    trustDomain: 'td',
    defaultAction: 'DENY',
    defaultMode: 'Enforce',
    policies: [...policies, ...open].sort(comparePolicies),
  }
}

/** With a policy in Rego that is about other requests: the sidecar must be asked about those, and only those. */
export function withRego(set: PolicySet): PolicySet {
  const rego = { entrypoint: 'a/allow', wasmDigest: '0'.repeat(64), data: {}, readsBody: false }
  const other = { to: [operation({ paths: is('/elsewhere') })] }
  const policy = makePolicy({ name: 'rego', rules: [other], rego })
  return { ...set, policies: [...set.policies, policy].sort(comparePolicies) }
}

/** What Istio 1.2x writes for an AuthorizationPolicy with these rules. */
export function makeFlat(by: By, count: number): JsonObject {
  const permission = (i: number): JsonObject =>
    by === 'principal'
      ? { any: true }
      : {
          andRules: {
            rules: [
              {
                orRules: {
                  rules: [{ header: { name: ':method', stringMatch: { exact: 'GET' } } }],
                },
              },
              { orRules: { rules: [{ urlPath: { path: { exact: pathOf(i) } } }] } },
            ],
          },
        }
  const principal = (i: number): JsonObject => {
    const authenticated = { principalName: { exact: principalOf(i) } }
    return by === 'path'
      ? { andIds: { ids: [{ any: true }] } }
      : { andIds: { ids: [{ orIds: { ids: [{ authenticated }] } }] } }
  }
  const policies = Array.from({ length: count }, (_, i) => [
    `ns[ns]-policy[p${Math.floor(i / RULES_PER_POLICY)}]-rule[${i % RULES_PER_POLICY}]`,
    { permissions: [permission(i)], principals: [principal(i)] },
  ])
  return { action: 'ALLOW', policies: Object.fromEntries(policies) }
}
