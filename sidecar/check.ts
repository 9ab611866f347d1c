/**
 * The request path, top to bottom: one CheckRequest in, one CheckResponse out, synchronously.
 *   guards → policy set → declarative rules and Rego (common/authz, core/policy) → verdict → decision log → reply
 * Fails closed here and nowhere else: whatever is thrown becomes a denial, and what can't be logged is denied.
 */
import { findGuard } from '../common/authz/guards.ts'
import type {
  CheckRequest,
  CheckResponse,
} from '../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toCheckResponse } from './core/decision/check-response.ts'
import { refuse, refuseByGuard, refuseFor, toVerdict } from './core/decision/verdict.ts'
import { type Judgement, toCheckFacts } from './core/decision-log/check-facts.ts'
import type { DecisionFacts, RequestSummary } from './core/decision-log/record.ts'
import { deadlineOf, lacksItsBody } from './core/input/arrival.ts'
import { toRawAttributes, toRequestAttributes, toRequestSummary } from './core/input/attributes.ts'
import type { SetChoice } from './core/policy/active-set.ts'
import { RegoCall, type RegoPrograms } from './core/policy/rego-call.ts'
import type { CheckCall } from './runtime/check-ports.ts'

export interface CheckDeps {
  chooseSet(isBodyBuffered: boolean): SetChoice<RegoPrograms>
  /** Says that this request is about to be decided, and that it is done: the watchdog's signs of life. */
  readonly watch: { begin(request: RequestSummary): void; end(): void }
  /** Appends a record before the answer leaves. False: it could not. Never throws. */
  log(facts: DecisionFacts): boolean
  /** Epoch nanoseconds. */
  nowNs(): bigint
  newId(): string
}

export type Check = (request: CheckRequest, call: CheckCall) => CheckResponse

export function createCheck(deps: CheckDeps): Check {
  return (request, call) => {
    const startNs = deps.nowNs()
    const summary = toRequestSummary(request, deps.newId, call.traceparent)
    const deadlineNs = deadlineOf(request, startNs)
    const isLate = (nowNs: bigint) => call.isCancelled() || nowNs > deadlineNs
    const hasBody = call.isBodyBuffered && !lacksItsBody(request)
    const decide = () => judge(request, deps.chooseSet(hasBody))
    const judged = isLate(startNs) ? LATE : judgeClosed(deps, summary, decide)
    const endNs = deps.nowNs()
    // Envoy has refused it already; an allow on record would say otherwise.
    const judgement = judged.verdict.allowed && isLate(endNs) ? LATE : judged
    const isLogged = deps.log(toCheckFacts({ judgement, request, summary, startNs, endNs }))
    return toCheckResponse(isLogged ? judgement.verdict : UNLOGGED, summary.decisionId)
  }
}

const UNLOGGED = refuse('ERR_DECISION_LOG', 'decision could not be logged')
const LATE: Judgement = { verdict: refuse('ERR_POLICY_TIMEOUT', 'late: Envoy has given up') }

function judgeClosed(deps: CheckDeps, summary: RequestSummary, judge: () => Judgement): Judgement {
  try {
    deps.watch.begin(summary)
    return judge()
  } catch (error) {
    return { verdict: refuseFor(error) }
  } finally {
    deps.watch.end()
  }
}

function judge(request: CheckRequest, choice: SetChoice<RegoPrograms>): Judgement {
  if ('missing' in choice) return { verdict: refuse(choice.missing, 'nothing to decide by') }
  const { set, revision, programs } = choice.active
  const guard = findGuard(toRawAttributes(request))
  if (guard !== undefined) return { revision, verdict: refuseByGuard(guard) }
  const rego = new RegoCall(request, programs)
  const verdict = toVerdict(set, rego.decide(set, toRequestAttributes(request)))
  return { revision, verdict, ...(rego.input === undefined ? {} : { input: rego.input }) }
}
