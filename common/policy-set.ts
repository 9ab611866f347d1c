/**
 * The policy set of one workload: what every lane enforces, as plain values.
 * The controller builds it (core/translate), the tree compiler lowers it (core/lanes), the bundle carries it,
 * the sidecar evaluates it whole (lane 3). Same set, same answer in each (DESIGN §1.5).
 * Values are literal text; nothing here is a regular expression.
 */

/** How one text value is compared. `present`: there and not empty. `template`: Istio's `{*}` and `{**}` in paths. */
export type StringMatch =
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'suffix'; readonly value: string }
  | { readonly kind: 'present' }
  | { readonly kind: 'template'; readonly segments: readonly TemplateSegment[] }

/**
 * One segment between slashes: literal text, `{*}` (exactly one segment, not empty) or `{**}` (any rest, also empty; last only).
 * The list is what follows the leading slash: `/a/{*}` has two segments, `/a/` has `a` and an empty literal.
 */
export type TemplateSegment =
  | { readonly kind: 'literal'; readonly value: string }
  | { readonly kind: 'one' }
  | { readonly kind: 'any' }

/** A positive list and its negation. Empty: the term is absent. Both given: both must hold. */
export interface Term<T> {
  readonly is: readonly T[]
  readonly not: readonly T[]
}

/** A caller. Principals are full SPIFFE ids; namespaces are this trust domain's. */
export interface Source {
  readonly principals: Term<StringMatch>
  readonly namespaces: Term<StringMatch>
  /** Canonical CIDR text, `10.0.0.0/8` or `2001:db8::/32`; IPv4-mapped addresses are IPv4. The peer's own address. */
  readonly ipBlocks: Term<string>
}

/** A request. Hosts are lower case without port and trailing dot; paths are normalised, without the query. */
export interface Operation {
  readonly hosts: Term<StringMatch>
  readonly ports: Term<number>
  readonly methods: Term<StringMatch>
  readonly paths: Term<StringMatch>
}

export type Condition = TextCondition | AddressCondition

/** `request.headers[NAME]` (NAME in lower case), the one key that is built so far beside those of Source and Operation. */
export interface TextCondition {
  readonly key: TextKey
  readonly values: Term<StringMatch>
}
export type TextKey =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'source.principal' }
  | { readonly kind: 'source.namespace' }
  | { readonly kind: 'destination.port' }

/** The peer's own address, as `Source.ipBlocks`. Not in 0.1: `when/source.ip`. */
export interface AddressCondition {
  readonly key: { readonly kind: 'source.ip' }
  readonly blocks: Term<string>
}

/** Matches when one of `from` (or none given), one of `to` (or none given) and all of `when` hold. */
export interface Rule {
  /** `namespace/policy/rules[i]`: what logs, metadata and `explain` call it. */
  readonly id: string
  readonly from: readonly Source[]
  readonly to: readonly Operation[]
  readonly when: readonly Condition[]
}

export type PolicyAction = 'ALLOW' | 'DENY' | 'AUDIT'
export type PolicyMode = 'Enforce' | 'Shadow'
export type OnError = 'Deny' | 'Allow'

export interface RegoPolicy {
  /** Slash path of the rule, `envoy/authz/allow`. */
  readonly entrypoint: string
  /** Lower-case hex SHA-256 of the WASM module; its file in the bundle is `wasm/<digest>.wasm`. */
  readonly wasmDigest: string
  /** The policy's own base document; `{}` when it has none. */
  readonly data: unknown
  /** Whether the policy may read the body; where none does, Envoy doesn't buffer it. */
  readonly readsBody: boolean
}

export interface Policy {
  readonly namespace: string
  readonly name: string
  readonly action: PolicyAction
  readonly mode: PolicyMode
  /** ALLOW only: must match whatever others allow. */
  readonly required: boolean
  readonly onError: OnError
  /** Absent: rules are not part of the policy. An empty list matches nothing. */
  readonly rules?: readonly Rule[]
  readonly rego?: RegoPolicy
}

/** What applies to one workload. Policies are sorted by (DENY, AUDIT, ALLOW), namespace, name. */
export interface PolicySet {
  /** Canonical name of the workload, `namespace/name`. */
  readonly workload: string
  readonly trustDomain: string
  /** Other names of this trust domain: `namespaces` mean theirs too. Principals are expanded already. Absent: none. */
  readonly trustDomainAliases?: readonly string[]
  /** What happens when no ALLOW policy is on the workload. */
  readonly defaultAction: 'ALLOW' | 'DENY'
  /** Denials by the default action are only recorded. */
  readonly defaultMode: PolicyMode
  readonly policies: readonly Policy[]
  /** Tokens of common/features.ts that an evaluator must know. Absent: 0.1 understands all of it. */
  readonly requires?: readonly string[]
}

/** `namespace/name`. */
export function policyId(policy: Pick<Policy, 'namespace' | 'name'>): string {
  return `${policy.namespace}/${policy.name}`
}

const ACTION_ORDER: Readonly<Record<PolicyAction, number>> = { DENY: 0, AUDIT: 1, ALLOW: 2 }

/** The order of `PolicySet.policies`: DENY, AUDIT, ALLOW; then namespace, then name, by code unit. */
export function comparePolicies(a: Policy, b: Policy): number {
  return (
    ACTION_ORDER[a.action] - ACTION_ORDER[b.action] ||
    compareText(a.namespace, b.namespace) ||
    compareText(a.name, b.name)
  )
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
