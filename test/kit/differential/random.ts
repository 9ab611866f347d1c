/**
 * Seeded randomness for differential tests: the same seed gives the same sets and requests on every machine.
 */
export interface Random {
  /** An integer in [0, below). */
  below(limit: number): number
  chance(probability: number): boolean
  pick<T>(from: readonly T[]): T
  /** 0 to `most` picks, with repetition. */
  some<T>(from: readonly T[], most: number): T[]
}

/** mulberry32: small, fast, good enough to choose test cases. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  const pick = <T>(from: readonly T[]): T => {
    const value = from[below(from.length)]
    if (value === undefined) throw new Error('nothing to pick from')
    return value
  }
  return {
    below,
    chance: (probability) => next() < probability,
    pick,
    some: (from, most) => Array.from({ length: below(most + 1) }, () => pick(from)),
  }
}
