/**
 * What a drill says: claims that hold or don't, and the figures that it measured. One shape for tests and `make proof`.
 */

export interface Claim {
  readonly text: string
  readonly holds: boolean
  /** What was seen, when it doesn't hold or when it is a figure worth showing. */
  readonly seen: string
  /** Depends on the machine's speed: `make proof` judges it, tests only show it. */
  readonly isTimed: boolean
}

export interface DrillReport {
  readonly name: string
  readonly claims: readonly Claim[]
}

export function claim(text: string, holds: boolean, seen: string | number): Claim {
  return { text, holds, seen: String(seen), isTimed: false }
}

/** A claim about how long something takes. */
export function timedClaim(text: string, holds: boolean, seen: string): Claim {
  return { text, holds, seen, isTimed: true }
}
