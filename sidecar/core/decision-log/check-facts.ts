/** What the decision log is told of one Check: the judgement, the request, and how long it took. */
import type { CheckRequest } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import type { Verdict } from '../decision/verdict.ts'
import { type RegoInput, toAttributes } from '../input/input.ts'
import type { DecisionFacts, RequestSummary } from './record.ts'

export interface Judgement {
  readonly verdict: Verdict
  /** Revision of the set that decided; undefined: there was none. */
  readonly revision?: string
  /** What Rego saw, if it was asked. */
  readonly input?: RegoInput
}

/** Times are epoch nanoseconds. */
export function toCheckFacts(call: {
  readonly judgement: Judgement
  readonly request: CheckRequest
  readonly summary: RequestSummary
  readonly startNs: bigint
  readonly endNs: bigint
}): DecisionFacts {
  const { judgement, request, summary, startNs, endNs } = call
  const { verdict } = judgement
  return {
    lane: 'wasm',
    request: summary,
    timeNs: startNs,
    ...(judgement.revision === undefined ? {} : { revision: judgement.revision }),
    input: judgement.input ?? toAttributes(request),
    verdict: { ...verdict, httpStatus: verdict.allowed ? 200 : verdict.denial.status },
    metrics: { timer_server_handler_ns: Number(endNs - startNs) },
  }
}
