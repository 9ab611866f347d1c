/**
 * Counts failed attestations by address, so that one that fails without end is turned away cheaply. A leaky bucket:
 * 60 failures at once, then one a second (secrets have 256 bits; this saves work and log lines, it is no guess limit).
 * Memory is bounded; when it is full, the address that failed longest ago is forgotten.
 */

const BURST = 60
const LEAK_PER_MS = 1 / 1000
const MAX_ADDRESSES = 1024

export interface Attempts {
  isBlocked(address: string, nowMs: number): boolean
  addFailure(address: string, nowMs: number): void
}

/** `nowMs` is monotonic. */
export function createAttempts(): Attempts {
  const buckets = new Map<string, { level: number; atMs: number }>()
  const levelOf = (address: string, nowMs: number) => {
    const bucket = buckets.get(address)
    return bucket === undefined
      ? 0
      : Math.max(0, bucket.level - (nowMs - bucket.atMs) * LEAK_PER_MS)
  }
  return {
    isBlocked: (address, nowMs) => levelOf(address, nowMs) >= BURST,
    addFailure(address, nowMs) {
      const level = Math.min(BURST + 1, levelOf(address, nowMs) + 1)
      buckets.delete(address)
      buckets.set(address, { level, atMs: nowMs })
      const [oldest] = buckets.keys()
      if (buckets.size > MAX_ADDRESSES && oldest !== undefined) buckets.delete(oldest)
    },
  }
}
