/**
 * What a sidecar with this bundle would answer, without a sidecar; for `postern explain`, which imports this file alone.
 * In: a policy set, its bundle and a CheckRequest. Out: the record that the decision log would have, masked, and what each
 * policy's Rego said. Rego runs in a thread of its own: a policy that never ends is cut off.
 */
import { Worker } from 'node:worker_threads'
import { toBinary } from '@bufbuild/protobuf'
import { MeshError } from '../common/errors.ts'
import type { PolicySet } from '../common/policy-set.ts'
import {
  type CheckRequest,
  CheckRequestSchema,
} from '../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { type NamedRuling, nameRuling, type RbacRuling } from './core/decision-log/rbac-ruling.ts'
import {
  answerAsSidecar,
  answerForHang,
  type ExplainTask,
  type SidecarAnswer,
} from './explain-answer.ts'

export type { SidecarAnswer } from './explain-answer.ts'

export type FromExplain =
  | { readonly kind: 'enter'; readonly policy: string }
  | { readonly kind: 'done'; readonly answer: SidecarAnswer }
  | { readonly kind: 'failed'; readonly message: string }

/** A sidecar gives a policy 300 ms; here the machine warms up first. */
const TIMEOUT_MS = 5_000

export interface SidecarQuestion {
  readonly set: PolicySet
  /** The bundle that holds the set. */
  readonly archive: Uint8Array
  readonly request: CheckRequest
  readonly isBodyBuffered: boolean
  /** Epoch nanoseconds at which the request is decided. */
  readonly nowNs: bigint
}

/** A policy that does not end in 5 s is answered as a sidecar does that ends its worker. Errors: ERR_BUNDLE_INVALID. */
export function askAsSidecar({ set, request, ...rest }: SidecarQuestion): Promise<SidecarAnswer> {
  const task: ExplainTask = { ...rest, request: toBinary(CheckRequestSchema, request) }
  const canHang = set.policies.some((p) => p.rego !== undefined)
  return canHang ? askThread(task) : answerAsSidecar(task, () => {})
}

async function askThread(task: ExplainTask): Promise<SidecarAnswer> {
  const worker = new Worker(new URL('./explain-thread.ts', import.meta.url), { workerData: task })
  let policy = ''
  const { promise, resolve, reject } = Promise.withResolvers<SidecarAnswer>()
  worker.on('message', (message: FromExplain) => {
    if (message.kind === 'enter') policy = message.policy
    else if (message.kind === 'done') resolve(message.answer)
    else reject(new MeshError('ERR_BUNDLE_INVALID', message.message))
  })
  worker.on('error', reject)
  worker.on('exit', () => reject(new MeshError('ERR_INTERNAL', 'the policies’ thread ended')))
  const timer = setTimeout(() => {
    if (policy === '') reject(new MeshError('ERR_INTERNAL', 'the policies do not load'))
    else resolve(answerForHang(task, policy))
  }, TIMEOUT_MS)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    await worker.terminate()
  }
}

/** As the decision log names what Envoy's own rules decided. */
export function nameEnvoyRuling(ruling: RbacRuling, set: PolicySet): NamedRuling {
  return nameRuling(ruling, set)
}
