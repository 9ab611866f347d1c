/**
 * Which policy set answers a request: none, the newest, or for one second the one before it.
 *
 *   (none) ──activate──▶ current ──activate──▶ current + previous ──1 s──▶ current
 *
 * Envoy buffers bodies by a configuration that reaches it on its own way, so that around an update a request may come
 * without its body while the new set reads bodies: it gets the previous set's answer if that one reads none, else 503.
 * A policy that reads the body must never decide on a request whose body was not sent along.
 */
import { type PolicySet, policyId } from '../../../common/policy-set.ts'

/** A set that is ready to evaluate. `P` is what evaluates its Rego. */
export interface ActiveSet<P> {
  readonly revision: string
  readonly set: PolicySet
  readonly programs: P
}

export interface SetState<P> {
  readonly current?: ActiveSet<P>
  readonly previous?: { readonly active: ActiveSet<P>; readonly replacedAtMs: number }
}

export type SetChoice<P> =
  | { readonly active: ActiveSet<P> }
  | { readonly missing: 'ERR_NO_BUNDLE' | 'ERR_BODY_NOT_BUFFERED' }

/** How long a replaced set may still answer. Milliseconds. */
export const PREVIOUS_SET_MS = 1000

export function activateSet<P>(state: SetState<P>, next: ActiveSet<P>, nowMs: number): SetState<P> {
  return state.current === undefined
    ? { current: next }
    : { current: next, previous: { active: state.current, replacedAtMs: nowMs } }
}

/** Times are monotonic milliseconds. */
export function chooseSet<P>(
  state: SetState<P>,
  request: { readonly isBodyBuffered: boolean; readonly nowMs: number },
): SetChoice<P> {
  const { current, previous } = state
  if (current === undefined) return { missing: 'ERR_NO_BUNDLE' }
  if (request.isBodyBuffered || !readsBody(current.set)) return { active: current }
  const mayUsePrevious =
    previous !== undefined &&
    request.nowMs - previous.replacedAtMs <= PREVIOUS_SET_MS &&
    !readsBody(previous.active.set)
  return mayUsePrevious ? { active: previous.active } : { missing: 'ERR_BODY_NOT_BUFFERED' }
}

export function readsBody(set: PolicySet): boolean {
  return set.policies.some((p) => p.rego?.readsBody === true)
}

/** The set in which these policies fail closed, whatever they say. */
export function withoutFailingOpen(set: PolicySet, which: (id: string) => boolean): PolicySet {
  const policies = set.policies.map((p) =>
    which(policyId(p)) ? { ...p, onError: 'Deny' as const } : p,
  )
  return { ...set, policies }
}
