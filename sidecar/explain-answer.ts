/**
 * One request as a sidecar with this bundle answers it: the same path (check.ts), the same WASM host, the same record.
 * In: archive and CheckRequest. Out: the record and what each policy's Rego said. May take as long as a policy likes.
 */
import { fromBinary } from '@bufbuild/protobuf'
import type { RegoOutcome } from '../common/authz/combine.ts'
import { unpackBundle } from '../common/bundle.ts'
import type { DecisionRecord } from '../common/decision.ts'
import { MeshError } from '../common/errors.ts'
import { type Policy, policyId } from '../common/policy-set.ts'
import {
  type CheckRequest,
  CheckRequestSchema,
} from '../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { ProgramSet } from './adapters/wasm/program-set.ts'
import { createCheck } from './check.ts'
import { toErrorOutcome, toRegoOutcome } from './core/decision/rego-outcome.ts'
import { maskResult } from './core/decision-log/mask.ts'
import { type DecisionFacts, toDecisionRecord } from './core/decision-log/record.ts'
import { toRequestSummary } from './core/input/attributes.ts'
import { activateSet, chooseSet } from './core/policy/active-set.ts'
import type { RegoPrograms } from './core/policy/rego-call.ts'

/** All that is asked; it can be sent to a thread. */
export interface ExplainTask {
  readonly archive: Uint8Array
  readonly request: Uint8Array
  readonly isBodyBuffered: boolean
  /** Epoch nanoseconds at which the request is decided. */
  readonly nowNs: bigint
}

export interface SidecarAnswer {
  /** As the decision log would have it, masked. */
  readonly record: DecisionRecord
  /** By policy id, for each policy whose Rego was asked; objects masked as in the log. */
  readonly outcomes: ReadonlyMap<string, RegoOutcome>
}

const NO_ID = 'explain-no-id'
const LABELS = { id: 'explain', version: '', workload: '', namespace: '' }

/** Errors: ERR_BUNDLE_INVALID. `enter` is told of each policy before its Rego is asked. */
export async function answerAsSidecar(
  task: ExplainTask,
  enter: (policy: string) => void,
): Promise<SidecarAnswer> {
  const { revision, set, wasm } = await unpackBundle(task.archive)
  const modules = new Map<string, WebAssembly.Module>()
  for (const [digest, bytes] of wasm) modules.set(digest, await WebAssembly.compile(bytes))
  const hooks = { enter, nowNs: () => task.nowNs }
  const programs = await ProgramSet.build({ set, modules, before: undefined, hooks })
  const heard = new Listening(programs)
  const state = activateSet({}, { revision, set, programs: heard }, 0)
  let facts: DecisionFacts | undefined
  const check = createCheck({
    chooseSet: (isBodyBuffered) => chooseSet(state, { isBodyBuffered, nowMs: 0 }),
    watch: { begin: () => {}, end: () => {} },
    log: (given) => {
      facts = given
      return true
    },
    nowNs: () => task.nowNs,
    newId: () => NO_ID,
  })
  const request: CheckRequest = fromBinary(CheckRequestSchema, task.request)
  check(request, { isBodyBuffered: task.isBodyBuffered, isCancelled: () => false })
  if (facts === undefined) throw new MeshError('ERR_INTERNAL', 'there was no decision')
  const { policy, error } = facts.verdict
  // A request that can't be read: the policy is never asked, and that is its error.
  if (error !== undefined && !heard.outcomes.has(policy))
    heard.outcomes.set(policy, { kind: 'error', ...error })
  return { record: toDecisionRecord(LABELS, facts), outcomes: heard.outcomes }
}

/** The answer of a sidecar whose worker was ended while it asked this policy (runtime/check-worker.ts). */
export function answerForHang(task: ExplainTask, policy: string): SidecarAnswer {
  const request = fromBinary(CheckRequestSchema, task.request)
  const error = { code: 'ERR_POLICY_TIMEOUT', message: `policy ${policy} took too long` }
  const record = toDecisionRecord(LABELS, {
    request: toRequestSummary(request, () => NO_ID),
    lane: 'wasm',
    timeNs: task.nowNs,
    verdict: {
      ...{ allowed: false, policy, reason: error.code, error, httpStatus: 503 },
      ...{ shadow: [], failedOpen: [], result: null },
    },
    metrics: {},
  })
  return { record, outcomes: new Map([[policy, { kind: 'error', ...error }]]) }
}

/** Remembers what each policy said, as the decision takes it. */
class Listening implements RegoPrograms {
  readonly outcomes = new Map<string, RegoOutcome>()
  readonly #programs: RegoPrograms

  constructor(programs: RegoPrograms) {
    this.#programs = programs
  }

  evaluate(policy: Policy, inputJson: string): unknown {
    const note = (outcome: RegoOutcome) => this.outcomes.set(policyId(policy), maskOutcome(outcome))
    try {
      const value = this.#programs.evaluate(policy, inputJson)
      note(toRegoOutcome(value, policy))
      return value
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'ERR_POLICY_ERROR'
      note(toErrorOutcome(code, error instanceof Error ? error.message : String(error)))
      throw error
    }
  }
}

/** What Rego says of headers may be a credential. */
function maskOutcome(outcome: RegoOutcome): RegoOutcome {
  if (outcome.kind !== 'result' || outcome.object === undefined) return outcome
  return { ...outcome, object: maskResult(outcome.object).value as Record<string, unknown> }
}
