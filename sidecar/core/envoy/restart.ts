/**
 * When to start Envoy again after it died: at once, unless it keeps dying. In: how long its last lives were.
 * Out: milliseconds to wait, and whether its newest configuration is suspect.
 */

export interface RestartPlan {
  readonly delayMs: number
  /** It died quickly `QUICK_DEATHS` times in a row or more. */
  readonly isCrashLoop: boolean
}

/** A life shorter than this ended quickly. */
export const QUICK_MS = 10_000
const QUICK_DEATHS = 3
const FIRST_DELAY_MS = 1_000
const MAX_DELAY_MS = 30_000

/** `lifetimesMs`: of all lives so far, the newest last. */
export function planRestart(lifetimesMs: readonly number[]): RestartPlan {
  const lastLong = lifetimesMs.findLastIndex((ms) => ms >= QUICK_MS)
  const quickDeaths = lifetimesMs.length - 1 - lastLong
  if (quickDeaths < QUICK_DEATHS) return { delayMs: 0, isCrashLoop: false }
  const delayMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (quickDeaths - QUICK_DEATHS))
  return { delayMs, isCrashLoop: true }
}
