/**
 * Runs one task again and again, one at a time, whenever it is asked for (level, not edge: many requests, one run).
 * A run that fails is tried again with growing pauses; only here is it decided when, and only here is it logged.
 */
import { MeshError } from '../../common/errors.ts'
import type { Log } from './ports.ts'

export interface QueueOptions {
  /** May ask to be run again after so many milliseconds. */
  readonly run: (signal: AbortSignal) => Promise<{ readonly requeueAfterMs?: number }>
  readonly log: Log
  readonly minBackoffMs?: number
  readonly maxBackoffMs?: number
}

const MIN_BACKOFF_MS = 200
const MAX_BACKOFF_MS = 30_000

export class Queue {
  readonly name = 'reconcile-queue'
  readonly #options: QueueOptions
  readonly #abort = new AbortController()
  #isRunning = false
  #isWanted = false
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #idle: Promise<void> = Promise.resolve()

  constructor(options: QueueOptions) {
    this.#options = options
  }

  /** Runs the task soon. While it runs, one more run is remembered. */
  request(): void {
    if (this.#abort.signal.aborted) return
    this.#isWanted = true
    if (this.#isRunning) return
    clearTimeout(this.#timer)
    this.#isRunning = true
    this.#idle = this.#drain()
  }

  /** Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('the controller stops'))
    clearTimeout(this.#timer)
    await this.#idle
  }

  async #drain(): Promise<void> {
    while (this.#isWanted && !this.#abort.signal.aborted) {
      this.#isWanted = false
      await this.#runOnce()
    }
    this.#isRunning = false
  }

  async #runOnce(): Promise<void> {
    const { signal } = this.#abort
    try {
      const { requeueAfterMs } = await this.#options.run(signal)
      this.#failures = 0
      if (requeueAfterMs !== undefined) this.#after(requeueAfterMs)
    } catch (err) {
      if (signal.aborted) return
      const code = err instanceof MeshError ? err.code : 'ERR_INTERNAL'
      const retryAfterMs = this.#backoff()
      this.#options.log.error({ err, code, retryAfterMs }, 'reconcile failed; the last good stays')
      this.#after(retryAfterMs)
    }
  }

  #backoff(): number {
    const { minBackoffMs = MIN_BACKOFF_MS, maxBackoffMs = MAX_BACKOFF_MS } = this.#options
    this.#failures += 1
    return Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(this.#failures - 1, 20))
  }

  #after(ms: number): void {
    clearTimeout(this.#timer)
    if (this.#abort.signal.aborted) return
    this.#timer = setTimeout(() => this.request(), ms)
  }
}
