/**
 * A policy that stopped the check worker is not asked again for a while, so that other policies and callers go on.
 * Each further timeout doubles the pause; a policy that behaved for ten minutes starts anew.
 */

export interface Breaker {
  readonly strikes: number
  readonly struckAtMs: number
  /** Until then the policy is answered as an error without being asked. */
  readonly openUntilMs: number
}

const FIRST_PAUSE_MS = 1_000
const MAX_PAUSE_MS = 60_000
const FORGET_AFTER_MS = 600_000

/** Times are monotonic milliseconds. */
export function strike(before: Breaker | undefined, nowMs: number): Breaker {
  const isForgotten = before === undefined || nowMs - before.struckAtMs > FORGET_AFTER_MS
  const strikes = isForgotten ? 1 : before.strikes + 1
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (strikes - 1), MAX_PAUSE_MS)
  return { strikes, struckAtMs: nowMs, openUntilMs: nowMs + pauseMs }
}

export function isOpen(breaker: Breaker | undefined, nowMs: number): boolean {
  return breaker !== undefined && nowMs < breaker.openUntilMs
}
