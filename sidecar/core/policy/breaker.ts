/**
 * Who may not ask a policy for a while, since what it asked took so long that the check worker was ended.
 * A source is a caller's identity, or its address. The one that struck waits, and no other; all wait only when several
 * have struck within seconds: then it is the policy, and each new caller would stop everything else once.
 * Each further strike doubles the pause; who behaved for ten minutes starts anew. Times are monotonic milliseconds.
 */
import type { RequestSummary } from '../decision-log/record.ts'

export interface Pause {
  readonly strikes: number
  readonly struckAtMs: number
  /** Until then the policy is answered as set aside, without being asked. */
  readonly openUntilMs: number
}

/** Of one policy. */
export interface Breaker {
  /** By source; who struck last comes last. */
  readonly sources: ReadonlyMap<string, Pause>
  readonly all?: Pause
}

const FIRST_PAUSE_MS = 1_000
const MAX_PAUSE_MS = 60_000
const FORGET_AFTER_MS = 600_000
/** So many sources within this time are "several": one attacker seldom has as many identities. */
const SEVERAL = 3
const SEVERAL_WITHIN_MS = 10_000
/** Each strike costs the worker a third of a second, so there are never as many that matter. */
const MAX_SOURCES = 1000

/** The caller's identity, else its address without the port. */
export function sourceOf({ source, requestedBy }: Pick<RequestSummary, 'source' | 'requestedBy'>) {
  return source ?? requestedBy.slice(0, Math.max(0, requestedBy.lastIndexOf(':')))
}

export function strike(before: Breaker | undefined, source: string, nowMs: number): Breaker {
  const sources = new Map(before?.sources)
  const pause = lengthen(sources.get(source), nowMs)
  sources.delete(source)
  sources.set(source, pause)
  const [oldest = ''] = sources.keys()
  if (sources.size > MAX_SOURCES) sources.delete(oldest)
  const recent = [...sources.values()].filter((p) => nowMs - p.struckAtMs <= SEVERAL_WITHIN_MS)
  const all = recent.length >= SEVERAL ? lengthen(before?.all, nowMs) : before?.all
  return all === undefined ? { sources } : { sources, all }
}

export function isOpen(breaker: Breaker | undefined, source: string, nowMs: number): boolean {
  const pauses = [breaker?.sources.get(source), breaker?.all]
  return pauses.some((pause) => pause !== undefined && nowMs < pause.openUntilMs)
}

function lengthen(before: Pause | undefined, nowMs: number): Pause {
  const isForgotten = before === undefined || nowMs - before.struckAtMs > FORGET_AFTER_MS
  const strikes = isForgotten ? 1 : before.strikes + 1
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (strikes - 1), MAX_PAUSE_MS)
  return { strikes, struckAtMs: nowMs, openUntilMs: nowMs + pauseMs }
}
