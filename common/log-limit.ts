/**
 * Bounds how often a peer can make us write a log line. In: who caused it. Out: whether to write, and how many lines were
 * left out since the last one. What it says no to must be counted or shown elsewhere.
 */

export interface LogLimitOptions {
  /** Milliseconds, monotonic. */
  readonly nowMs: () => number
  /** Lines of one cause within `windowMs`. Default 10. */
  readonly burst?: number
  /** Default 60,000. */
  readonly windowMs?: number
}

interface Window {
  readonly sinceMs: number
  written: number
  leftOut: number
}

/** Causes that are remembered; beyond it the oldest begins anew. */
const MAX_CAUSES = 10_000

export class LogLimit {
  readonly #nowMs: () => number
  readonly #burst: number
  readonly #windowMs: number
  readonly #windows = new Map<string, Window>()

  constructor({ nowMs, burst = 10, windowMs = 60_000 }: LogLimitOptions) {
    this.#nowMs = nowMs
    this.#burst = burst
    this.#windowMs = windowMs
  }

  /** Undefined: write nothing. Else how many lines of this cause were left out before this one. */
  take(cause: string): number | undefined {
    const nowMs = this.#nowMs()
    let window = this.#windows.get(cause)
    let leftOut = 0
    if (window === undefined || nowMs - window.sinceMs >= this.#windowMs) {
      leftOut = window?.leftOut ?? 0
      window = { sinceMs: nowMs, written: 0, leftOut: 0 }
      this.#windows.delete(cause)
      this.#windows.set(cause, window)
      const [oldest = ''] = this.#windows.keys()
      if (this.#windows.size > MAX_CAUSES) this.#windows.delete(oldest)
    }
    if (window.written >= this.#burst) {
      window.leftOut += 1
      return undefined
    }
    window.written += 1
    return leftOut
  }
}
