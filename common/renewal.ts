/**
 * When a certificate is to be renewed and when it must no longer be used. Pure; both programs use it.
 * Counts on two clocks at once, so that neither a wall clock that jumps nor a machine that slept (its monotonic clock
 * stands still) lets a certificate live too long or its renewal be missed.
 * Source: SPIRE `rotationutil` (half-life); DESIGN §3.
 */

export interface Moment {
  /** Epoch milliseconds. May jump. */
  readonly wallMs: number
  /** Milliseconds since an arbitrary start. Never jumps. */
  readonly monotonicMs: number
}

/** A certificate's life as its holder sees it, from the moment of receipt. */
export interface Lease {
  readonly start: Moment
  /** Milliseconds after `start`. */
  readonly renewAfterMs: number
  readonly expireAfterMs: number
}

export type LeasePhase = 'fresh' | 'due' | 'expired'

/** Renewal is spread over ± this part of the lifetime around its half, so that a fleet does not renew in step. */
const JITTER = 0.1

/**
 * When to renew, in epoch milliseconds: at half of what is left at `nowMs`, ± 10 % of it. `jitter` ∈ [0, 1).
 * What is left counts, not the certificate's whole span: a leaf is backdated, and 20-second SVIDs exist.
 */
export function renewAt(times: { nowMs: number; notAfterMs: number; jitter: number }): number {
  const leftMs = Math.max(0, times.notAfterMs - times.nowMs)
  return times.nowMs + leftMs * (0.5 + (times.jitter * 2 - 1) * JITTER)
}

/** The lease of a certificate that ends at `notAfterMs` and was received at `start`. */
export function startLease(start: Moment, notAfterMs: number, jitter: number): Lease {
  const at = renewAt({ nowMs: start.wallMs, notAfterMs, jitter })
  return { start, renewAfterMs: at - start.wallMs, expireAfterMs: notAfterMs - start.wallMs }
}

/** The later of both clocks counts. */
export function leasePhase(lease: Lease, now: Moment): LeasePhase {
  const elapsedMs = Math.max(
    now.wallMs - lease.start.wallMs,
    now.monotonicMs - lease.start.monotonicMs,
  )
  if (elapsedMs >= lease.expireAfterMs) return 'expired'
  return elapsedMs >= lease.renewAfterMs ? 'due' : 'fresh'
}

/** Wait before attempt number `attempt` (from 1): 1 s doubling up to `maxMs`, of which at least half, at most all. */
export function backoffMs(attempt: number, maxMs: number, jitter: number): number {
  const fullMs = Math.min(maxMs, 1000 * 2 ** Math.min(attempt - 1, 20))
  return fullMs * (0.5 + jitter / 2)
}
