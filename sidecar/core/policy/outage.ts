/**
 * When the check worker gave no answer, and which policy's Rego was the cause: so that the record of a call that fell
 * into it names the policy. Pure; times are epoch nanoseconds.
 */
import { CHECK_TIMEOUT_MS } from '../../../common/check-timeout.ts'

export interface Outage {
  /** `namespace/name`. */
  readonly policy: string
  readonly fromNs: bigint
  /** Undefined: it lasts. */
  readonly untilNs?: bigint
}

/** The newest, as many as Envoy could report late. */
const KEPT = 16
/** Calls that wait in the worker began before, at most by ext_authz's own timeout. */
const WAITING_NS = BigInt(CHECK_TIMEOUT_MS) * 1_000_000n
/** Envoy needs a while to reach the new worker. */
const RECONNECT_NS = 1_000_000_000n

export function begin(
  before: readonly Outage[],
  policy: string,
  fromNs: bigint,
): readonly Outage[] {
  return [...before, { policy, fromNs }].slice(-KEPT)
}

export function end(before: readonly Outage[], untilNs: bigint): readonly Outage[] {
  return before.map((outage) => (outage.untilNs === undefined ? { ...outage, untilNs } : outage))
}

/** The policy whose Rego was the cause that a call which began then had no answer. */
export function causeOf(outages: readonly Outage[], startNs: bigint): string | undefined {
  return outages.findLast(
    ({ fromNs, untilNs }) =>
      startNs >= fromNs - WAITING_NS &&
      (untilNs === undefined || startNs <= untilNs + RECONNECT_NS),
  )?.policy
}
