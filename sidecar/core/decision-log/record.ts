/**
 * A decision and its request → the record of the decision log (common/decision.ts), masked.
 * Source: OPA decision-log schema; W3C Trace Context for trace and span ids.
 */
import type { DecisionRecord, Lane } from '../../../common/decision.ts'
import type { Verdict } from '../decision/verdict.ts'
import { maskInput, maskResult } from './mask.ts'
import { maskQuery } from './mask-query.ts'

/** What is the same in each record of one sidecar. */
export interface LogLabels {
  /** Of this sidecar process. */
  readonly id: string
  readonly version: string
  readonly workload: string
  readonly namespace: string
}

/** What a record says of the request beside the input. */
export interface RequestSummary {
  readonly decisionId: string
  /** `address:port` of the peer. */
  readonly requestedBy: string
  readonly source?: string
  readonly method?: string
  readonly path?: string
  readonly host?: string
  readonly traceparent?: string
}

export interface DecisionFacts {
  readonly request: RequestSummary
  readonly lane: Lane
  /** Epoch nanoseconds. */
  readonly timeNs: bigint
  /** Revision that decided; undefined: none was there. */
  readonly revision?: string
  readonly input?: Readonly<Record<string, unknown>>
  readonly verdict: Omit<Verdict, 'denial' | 'mutation'> & { readonly httpStatus?: number }
  readonly metrics: Readonly<Record<string, number>>
}

/** The bundle's name in `bundles`. */
const BUNDLE = 'postern'
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}/

export function toDecisionRecord(labels: LogLabels, facts: DecisionFacts): DecisionRecord {
  const { verdict, request, revision } = facts
  const input = facts.input === undefined ? undefined : maskInput(facts.input)
  const result = maskResult(verdict.result)
  const masked = [...(input?.masked ?? []), ...result.masked]
  const [, traceId, spanId] = TRACEPARENT.exec(request.traceparent ?? '') ?? []
  return {
    decision_id: request.decisionId,
    timestamp: formatTime(facts.timeNs),
    ...(traceId === undefined || spanId === undefined
      ? {}
      : { trace_id: traceId, span_id: spanId }),
    type: 'openpolicyagent.org/decision_logs',
    ...(verdict.path === undefined ? {} : { path: verdict.path }),
    labels,
    bundles: revision === undefined ? {} : { [BUNDLE]: { revision } },
    ...(input === undefined ? {} : { input: input.value }),
    result: result.value,
    ...(verdict.error === undefined ? {} : { error: verdict.error }),
    requested_by: request.requestedBy,
    metrics: facts.metrics,
    ...(input === undefined || input.erased.length === 0 ? {} : { erased: input.erased }),
    ...(masked.length === 0 ? {} : { masked }),
    postern: toPostern(facts),
  }
}

function toPostern({ verdict, request, lane }: DecisionFacts): DecisionRecord['postern'] {
  const { source, method, path, host } = request
  return {
    lane,
    allowed: verdict.allowed,
    policy: verdict.policy,
    reason: verdict.reason,
    ...(verdict.rule === undefined ? {} : { rule: verdict.rule }),
    ...(verdict.httpStatus === undefined ? {} : { httpStatus: verdict.httpStatus }),
    ...(verdict.shadow.length === 0 ? {} : { shadow: verdict.shadow }),
    ...(verdict.failedOpen.length === 0 ? {} : { failedOpen: verdict.failedOpen }),
    ...(source === undefined ? {} : { source }),
    ...(method === undefined ? {} : { method }),
    ...(path === undefined ? {} : { path: maskQuery(path).value }),
    ...(host === undefined ? {} : { host }),
  }
}

/** RFC 3339 with nine digits, UTC. */
export function formatTime(timeNs: bigint): string {
  const seconds = new Date(Number(timeNs / 1_000_000n)).toISOString().slice(0, 19)
  return `${seconds}.${(timeNs % 1_000_000_000n).toString().padStart(9, '0')}Z`
}
