/**
 * What the check worker's supervisor and the worker say to each other, and what the supervisor asks of the outside.
 * Adapters implement these; main joins them.
 */
import type { PolicySet } from '../../common/policy-set.ts'
import type { RequestSummary } from '../core/decision-log/record.ts'
import type { Breaker } from '../core/policy/breaker.ts'
import type { DecisionSpan } from '../core/trace/decision-span.ts'

/** How a question of Envoy's came. */
export interface CheckCall {
  /** Whether Envoy was told to send bodies. */
  readonly isBodyBuffered: boolean
  /** W3C Trace Context of Envoy's span of the question; absent: it makes none. */
  readonly traceparent?: string
  /** Whether Envoy has given up. */
  isCancelled(): boolean
}

/** A verified bundle. Modules are compiled, and shared by the threads. */
export interface WorkerBundle {
  readonly revision: string
  readonly set: PolicySet
  /** By their digest. */
  readonly modules: ReadonlyMap<string, WebAssembly.Module>
  /** Of the set's TallySheet: where its decisions are counted. */
  readonly tally: SharedArrayBuffer
}

export type ToWorker =
  /** Take the socket and answer; sent once. Breakers are by `namespace/name`. */
  | {
      readonly kind: 'start'
      readonly bundle: WorkerBundle | undefined
      readonly breakers: ReadonlyMap<string, Breaker>
    }
  | { readonly kind: 'activate'; readonly id: number; readonly bundle: WorkerBundle }
  | { readonly kind: 'reopen-log' }
  | { readonly kind: 'stop'; readonly graceMs: number }

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'spans'; readonly spans: readonly DecisionSpan[] }
  /** The decision log's file can't be opened, at the start or after a rotation. */
  | { readonly kind: 'log-fault'; readonly message: string }
  | { readonly kind: 'activated'; readonly id: number }
  | { readonly kind: 'refused'; readonly id: number; readonly message: string }

export interface Beat {
  /** Monotonic nanoseconds (process.hrtime); undefined when idle. */
  readonly busySinceNs: bigint | undefined
  /** Changes with each request. */
  readonly sequence: bigint
}

export interface LastRequest {
  readonly request: RequestSummary
  /** `namespace/name` of the policy that was being evaluated; undefined when none was. */
  readonly policy: string | undefined
}

/** One worker thread. It loads at once, and works from `start` on. */
export interface CheckThread {
  post(message: ToWorker): void
  onMessage(listener: (message: FromWorker) => void): void
  /** Called once, when the thread ends for whatever reason. */
  onEnd(listener: (error: Error | undefined) => void): void
  /** Resolves when it has ended; stops even an endless loop. */
  terminate(): Promise<void>
  beat(): Beat
  /** What it worked on when it ended; undefined when it was idle. */
  last(): LastRequest | undefined
}

export interface DecisionLog {
  /** False: it could not be written. */
  append(record: unknown): boolean
}
