/**
 * Whether an object's status must be written, and what is written: nothing when what is there says the same. A condition
 * whose status did not change keeps the time that stands there, so that another replica's clock is no news.
 */
import type { Condition } from '../crd/index.ts'

export interface StatusValue {
  readonly conditions?: readonly Condition[]
  readonly [field: string]: unknown
}

/** Undefined: nothing is to be written. */
export function planStatus(
  wanted: StatusValue,
  there: StatusValue | undefined,
): StatusValue | undefined {
  const before = new Map((there?.conditions ?? []).map((c) => [c.type, c]))
  const conditions = (wanted.conditions ?? []).map((condition) => {
    const old = before.get(condition.type)
    return old?.status === condition.status
      ? { ...condition, lastTransitionTime: old.lastTransitionTime }
      : condition
  })
  const next = { ...wanted, conditions }
  return there !== undefined && textOf(next) === textOf(there) ? undefined : next
}

/** What a user must hear: an object that is refused, when it wasn't, or for another reason. */
export function newRefusal(
  next: StatusValue,
  there: StatusValue | undefined,
): Condition | undefined {
  const find = (status: StatusValue | undefined) =>
    status?.conditions?.find(({ type }) => type === 'Accepted')
  const [now, before] = [find(next), find(there)]
  if (now?.status !== 'False') return undefined
  const isSame = before?.status === 'False' && before.message === now.message
  return isSame ? undefined : now
}

/** Equal for values that differ in the order of keys only. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
