/** Durations of manifests: the Gateway API's text, such as `500ms`, `10s` or `1h30m` (GEP-2257). */

const DURATION = /^(?:\d{1,5}(?:h|m|s|ms)){1,4}$/
const PART = /(\d+)(ms|h|m|s)/g
const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/** Milliseconds, or undefined for what is no duration. */
export function parseDuration(text: string): number | undefined {
  if (!DURATION.test(text)) return undefined
  return [...text.matchAll(PART)].reduce(
    (sum, [, count, unit]) => sum + Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS],
    0,
  )
}
