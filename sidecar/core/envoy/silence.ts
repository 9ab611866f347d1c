/**
 * Whether Envoy's main thread hangs, told from whether its admin socket answers. Pure: looks go in, a verdict comes out.
 * It hangs when it was silent for long *and* over several looks: a machine that slept, or a sidecar that was starved,
 * is no hung Envoy.
 */

export interface Silence {
  /** Monotonic milliseconds of the first look without an answer; undefined: the last one was answered. */
  readonly sinceMs: number | undefined
  readonly looks: number
}

export const NOT_SILENT: Silence = { sinceMs: undefined, looks: 0 }

export const HUNG_AFTER_MS = 10_000
const MIN_LOOKS = 3

export function judgeSilence(
  before: Silence,
  hasAnswered: boolean,
  nowMs: number,
): { readonly silence: Silence; readonly isHung: boolean } {
  if (hasAnswered) return { silence: NOT_SILENT, isHung: false }
  const silence = { sinceMs: before.sinceMs ?? nowMs, looks: before.looks + 1 }
  const isHung = nowMs - silence.sinceMs >= HUNG_AFTER_MS && silence.looks >= MIN_LOOKS
  return { silence, isHung }
}
