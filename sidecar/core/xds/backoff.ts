/** How long to wait before trying the controller again: at once at first, then doubling, with jitter, up to 5 s. */

const FIRST_MS = 200
const MAX_MS = 5_000

/**
 * `failures` in a row so far (0: the connection was lost just now). `random` ∈ [0,1) spreads a fleet over the upper
 * half of the interval. Milliseconds.
 */
export function backoffMs(failures: number, random: number): number {
  if (failures <= 0) return 0
  const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** (failures - 1))
  return Math.round(ceiling * (0.5 + random / 2))
}
