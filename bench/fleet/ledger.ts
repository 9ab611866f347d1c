/**
 * What the fleet was sent, by proxy. In: each message as it comes. Out: who got how many messages and bytes since
 * `begin()`, and when the last ACK and the last bundle were.
 */

export interface Tally {
  /** Proxies that got an xDS message. */
  readonly proxies: readonly string[]
  readonly messages: number
  readonly xdsBytes: number
  readonly bundles: number
  readonly bundleBytes: number
  /** `performance.now()` of the last ACK; of the last bundle; 0: none. */
  readonly lastAckMs: number
  readonly lastBundleMs: number
}

export class Ledger {
  /** Proxies whose stream or long poll ended by itself, and why. */
  readonly failures = new Map<string, string>()
  #proxies = new Set<string>()
  #messages = 0
  #xdsBytes = 0
  #bundles = new Set<string>()
  #bundleCount = 0
  #bundleBytes = 0
  #lastAckMs = 0
  #lastBundleMs = 0
  #lastMs = 0

  /** Counts anew from here. */
  begin(): void {
    this.#proxies = new Set()
    this.#bundles = new Set()
    this.#messages = this.#xdsBytes = this.#bundleCount = this.#bundleBytes = 0
    this.#lastAckMs = this.#lastBundleMs = 0
  }

  received(workload: string, bytes: number): void {
    this.#proxies.add(workload)
    this.#messages += 1
    this.#xdsBytes += bytes
    this.#lastMs = performance.now()
  }

  acked(): void {
    this.#lastAckMs = this.#lastMs = performance.now()
  }

  fetched(workload: string, bytes: number): void {
    this.#bundles.add(workload)
    this.#bundleCount += 1
    this.#bundleBytes += bytes
    this.#lastBundleMs = this.#lastMs = performance.now()
  }

  failed(workload: string, reason: Error): void {
    if (!this.failures.has(workload)) this.failures.set(workload, reason.message)
  }

  /** Milliseconds since anything came. */
  quietMs(): number {
    return performance.now() - this.#lastMs
  }

  tally(): Tally {
    return {
      proxies: [...this.#proxies].sort(),
      messages: this.#messages,
      xdsBytes: this.#xdsBytes,
      bundles: this.#bundles.size,
      bundleBytes: this.#bundleBytes,
      lastAckMs: this.#lastAckMs,
      lastBundleMs: this.#lastBundleMs,
    }
  }
}
