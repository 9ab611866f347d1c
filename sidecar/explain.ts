/**
 * What a sidecar with this bundle would answer, without a sidecar; for `postern explain`, which imports this file alone.
 * In: a policy set, its bundle and a CheckRequest. Out: the record that the decision log would have, masked, and what each
 * policy's Rego said. Rego runs in a thread of its own: a policy that never ends is cut off.
 */
import { Worker } from 'node:worker_threads'
import { toBinary } from '@bufbuild/protobuf'
import { MeshError } from '../common/errors.ts'
import type { PolicySet } from '../common/policy-set.ts'
import { siblingModule } from '../common/sibling.ts'
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

/** A sidecar gives a policy 300 ms; here it is asked for the first time, perhaps on a busy machine. */
const POLICY_MS = 5_000
/** Until the thread runs and the modules are compiled. */
const LOAD_MS = 60_000

export interface SidecarQuestion {
  readonly set: PolicySet
  /** The bundle that holds the set. */
  readonly archive: Uint8Array
  readonly request: CheckRequest
  readonly isBodyBuffered: boolean
  /** Epoch nanoseconds at which the request is decided. */
  readonly nowNs: bigint
}

/** The thread in which Rego runs: made when it is needed, replaced when a policy holds it up. One question at a time. */
export class SidecarThread {
  readonly #policyMs: number
  #worker: Worker | undefined
  #turn: Promise<unknown> = Promise.resolve()

  /** `policyMs`: how long one policy may take. */
  constructor({ policyMs }: { readonly policyMs: number } = { policyMs: POLICY_MS }) {
    this.#policyMs = policyMs
  }

  /** A policy that does not end in 5 s is answered as by a sidecar that ends its worker. Errors: ERR_BUNDLE_INVALID. */
  ask({ set, request, ...rest }: SidecarQuestion): Promise<SidecarAnswer> {
    const task: ExplainTask = { ...rest, request: toBinary(CheckRequestSchema, request) }
    const canHang = set.policies.some((p) => p.rego !== undefined)
    if (!canHang) return answerAsSidecar(task, () => {})
    const answer = this.#turn.then(() => this.#askThread(task))
    this.#turn = answer.catch(() => undefined)
    return answer
  }

  async close(): Promise<void> {
    await this.#turn
    await this.#end()
  }

  async #end(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    await worker?.terminate()
  }

  async #askThread(task: ExplainTask): Promise<SidecarAnswer> {
    this.#worker ??= new Worker(siblingModule('./explain-thread', import.meta.url))
    const worker = this.#worker
    const { promise, resolve, reject } = Promise.withResolvers<SidecarAnswer>()
    let timer = setTimeout(() => reject(hangs('the policies do not load')), LOAD_MS)
    const take = (message: FromExplain) => {
      if (message.kind === 'done') resolve(message.answer)
      else if (message.kind === 'failed') {
        reject(new MeshError('ERR_BUNDLE_INVALID', message.message))
      } else {
        clearTimeout(timer)
        const { policy } = message
        timer = setTimeout(() => {
          resolve(answerForHang(task, policy))
          void this.#end()
        }, this.#policyMs)
      }
    }
    const end = () => reject(hangs('the policies’ thread ended'))
    worker.on('message', take).on('error', reject).on('exit', end)
    try {
      worker.postMessage(task)
      return await promise
    } finally {
      clearTimeout(timer)
      worker.off('message', take).off('error', reject).off('exit', end)
    }
  }
}

function hangs(message: string): MeshError {
  return new MeshError('ERR_INTERNAL', message)
}

/** One question in a thread of its own. */
export async function askAsSidecar(question: SidecarQuestion): Promise<SidecarAnswer> {
  const thread = new SidecarThread()
  try {
    return await thread.ask(question)
  } finally {
    await thread.close()
  }
}

/** As the decision log names what Envoy's own rules decided. */
export function nameEnvoyRuling(ruling: RbacRuling, set: PolicySet): NamedRuling {
  return nameRuling(ruling, set)
}
