/**
 * A worker thread that runs sidecar/worker.ts, with its heartbeat. In: what it is to serve. Out: a CheckThread.
 */
import { Worker } from 'node:worker_threads'
import { siblingModule } from '../../../common/sibling.ts'
import type { LogLabels } from '../../core/decision-log/record.ts'
import type { CheckThread, FromWorker } from '../../runtime/check-ports.ts'
import { Heartbeat } from './heartbeat.ts'

/** What the worker finds as its `workerData`. */
export interface CheckThreadData {
  readonly socketPath: string
  /** `-` for standard output, else a path. */
  readonly decisionLog: string
  /** Of the main thread's decision log. */
  readonly torn?: SharedArrayBuffer
  /** LostCount's memory: decisions that the worker could not write. */
  readonly lost?: SharedArrayBuffer
  /** Of the TallySheet that counts while there is no policy set. */
  readonly tally: SharedArrayBuffer
  /** SpansPending's memory. */
  readonly spansPending?: SharedArrayBuffer
  readonly labels: LogLabels
}

/** A policy set that needs more JavaScript heap than this ends its worker, not the sidecar. WASM memory is apart. */
const MAX_HEAP_MB = 512

export function spawnCheckThread(data: CheckThreadData): CheckThread {
  const heartbeat = new Heartbeat()
  const worker = new Worker(siblingModule('../../worker', import.meta.url), {
    name: 'check',
    workerData: { ...data, heartbeat: heartbeat.memory },
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
  })
  let error: Error | undefined
  worker.on('error', (cause) => {
    error = cause instanceof Error ? cause : new Error(String(cause))
  })
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) => worker.on('message', (m: FromWorker) => listener(m)),
    onEnd: (listener) => worker.once('exit', () => listener(error)),
    terminate: async () => {
      await worker.terminate()
    },
    beat: () => heartbeat.beat(),
    last: () => heartbeat.last(),
  }
}
