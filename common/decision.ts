/**
 * The decision-log record: OPA's schema, one JSON line per decision.
 * Source: https://www.openpolicyagent.org/docs/management-decision-logs (field names), opa-envoy-plugin's log.
 */

/** Which lane gave the answer (DESIGN §5). */
export type Lane = 'rbac' | 'wasm'

export interface DecisionRecord {
  /** UUID; the value of the request's `x-postern-decision-id` header. */
  readonly decision_id: string
  /** RFC 3339 with nanosecond digits, UTC. */
  readonly timestamp: string
  readonly type: 'openpolicyagent.org/decision_logs'
  /** W3C Trace Context: the trace, and the span in which the decision was asked for. */
  readonly trace_id?: string
  readonly span_id?: string
  /** Entrypoint of the deciding Rego, slash path; absent when rules decided. */
  readonly path?: string
  readonly labels: {
    readonly id: string
    readonly version: string
    readonly workload: string
    readonly namespace: string
  }
  readonly bundles: Readonly<Record<string, { readonly revision: string }>>
  readonly input?: unknown
  /** What the policy said; for RBAC the boolean. */
  readonly result: unknown
  readonly error?: { readonly code: string; readonly message: string }
  readonly requested_by: string
  readonly metrics: Readonly<Record<string, number>>
  readonly erased?: readonly string[]
  readonly masked?: readonly string[]
  /** What is Postern's own, beside OPA's fields. */
  readonly postern: {
    readonly lane: Lane
    readonly allowed: boolean
    /** `namespace/name` of the deciding policy, `default` for the default action, `guard/<name>` for a guard. */
    readonly policy: string
    /** `namespace/policy/rules[i]` when a rule decided. */
    readonly rule?: string
    /** ErrorCode or `default-deny`, `matched`, `not-matched`: why. */
    readonly reason: string
    readonly httpStatus?: number
    /** AUDIT and Shadow policies that would have matched, `namespace/name`. */
    readonly shadow?: readonly string[]
    /** Policies that failed and whose `onError: Allow` let the request pass, `namespace/name`. */
    readonly failedOpen?: readonly string[]
    readonly source?: string
    readonly method?: string
    readonly path?: string
    readonly host?: string
  }
}
