/**
 * Conditions as Kubernetes has them: one per type, whose time changes only when its status does.
 * Source: Kubernetes API conventions, "Typical status properties".
 */
import type { ObjectKey } from '../accept/objects.ts'
import type { Condition } from '../crd/index.ts'

/** A condition before its times are known. */
export interface Finding {
  readonly type: string
  readonly status: 'True' | 'False' | 'Unknown'
  readonly reason: string
  readonly message: string
}

/** What of a condition says when its status changed. */
export type ConditionTime = Pick<Condition, 'type' | 'status' | 'lastTransitionTime'>
export type ConditionTimes = ReadonlyMap<ObjectKey, readonly ConditionTime[]>

/** Origin: the CRDs' `maxLength`. */
const MAX_MESSAGE = 32_768

/** `before` are the object's conditions so far; `now` is RFC 3339. */
export function toConditions(
  findings: readonly Finding[],
  observedGeneration: number,
  before: readonly ConditionTime[],
  now: string,
): readonly Condition[] {
  return findings.map(({ type, status, reason, message }) => {
    const old = before.find((c) => c.type === type)
    return {
      type,
      status,
      observedGeneration,
      lastTransitionTime: old?.status === status ? old.lastTransitionTime : now,
      reason,
      message: message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message,
    }
  })
}
