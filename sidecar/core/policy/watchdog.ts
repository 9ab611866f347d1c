/**
 * Whether the check worker hangs, told from looks at its signs of life. Pure: a look goes in, a verdict comes out.
 * A worker hangs when one request takes longer than the limit *and* was seen in several looks: when the whole machine
 * is starved, the looks come late too, and the worker gets its time.
 */

export interface Look {
  /** Monotonic nanoseconds; undefined when idle. */
  readonly busySinceNs: bigint | undefined
  readonly sequence: bigint
}

export interface Watch {
  readonly sequence: bigint
  /** Looks in a row that saw this request. */
  readonly looks: number
}

/** Below ext_authz's own timeout of 500 ms (CONTRACT of the Envoy configuration), so that the worker is back by then. */
export const HANG_AFTER_MS = 300
/** Between looks. */
export const LOOK_EVERY_MS = 50
const MIN_LOOKS = 4

export const NOT_WATCHING: Watch = { sequence: -1n, looks: 0 }

export function look(
  before: Watch,
  seen: Look,
  nowNs: bigint,
): { readonly watch: Watch; readonly isHanging: boolean } {
  if (seen.busySinceNs === undefined) return { watch: NOT_WATCHING, isHanging: false }
  const looks = seen.sequence === before.sequence ? before.looks + 1 : 1
  const busyMs = Number(nowNs - seen.busySinceNs) / 1e6
  return {
    watch: { sequence: seen.sequence, looks },
    isHanging: busyMs > HANG_AFTER_MS && looks >= MIN_LOOKS,
  }
}
