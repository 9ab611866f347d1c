/**
 * The callers of the churn drill: who is to be allowed, who is to be denied, and what became of each call.
 * Only counts are kept, and the answers that are wrong.
 */
import { type Answer, type Load, startLoad } from '../demo/load.ts'
import type { Stack } from '../demo/stack.ts'
import { CHURN_PORTS } from './churn-world.ts'

/** From a kill until the killed one serves again; its callers may fail meanwhile. */
export interface Outage {
  readonly from: number
  to: number
}

export interface Tally {
  readonly name: string
  calls: number
  /** Latencies, milliseconds. */
  readonly ms: number[]
  /** Answers that are not what they must be. */
  readonly wrong: Answer[]
}

/** After a grant is taken back, the claimed bound for an edit. */
const ENFORCED_MS = 1000

/** The longest that a sidecar waits before it tries the controller again (sidecar/core/xds/backoff.ts). */
const RECONNECT_MS = 5000

export class ChurnCallers {
  readonly allowed: Tally[] = []
  readonly denied: Tally[] = []
  /** Answers of 200 to guests, by when they were asked. */
  readonly guestAllowedAt: number[] = []
  guestCalls = 0
  /** Allowed callers of the workload that is killed. */
  readonly toVictim: Tally
  readonly #loads: Load[] = []

  /** `share` of the full load of 500 allowed and 120 denied calls a second. */
  constructor(stack: Stack, share: number) {
    const at = (port: keyof typeof CHURN_PORTS) => Number(stack.shift(`${CHURN_PORTS[port]}`))
    const get = { path: '/orders/42', http1: 4, http2: 2 }
    const charge = { path: '/charge', method: 'POST', body: '{"amount":25}', http1: 2, http2: 1 }
    this.#allow('rules', { ...get, port: at('callerToOrders'), ratePerSecond: 340 * share })
    this.#allow('Rego', { ...charge, port: at('ordersToPayments'), ratePerSecond: 60 * share })
    this.toVictim = tally('to the killed')
    this.#load(this.toVictim, 200, {
      ...get,
      port: at('callerToVictim'),
      ratePerSecond: 100 * share,
    })
    this.#deny('a stranger', { ...get, port: at('strangerToOrders'), ratePerSecond: 40 * share })
    this.#deny('to the killed', { ...get, port: at('strangerToVictim'), ratePerSecond: 40 * share })
    this.#deny('plaintext', { ...get, http2: 1, port: at('orders'), ratePerSecond: 20 * share })
    this.#guests({
      ...get,
      path: '/orders/guest',
      port: at('strangerToOrders'),
      ratePerSecond: 20 * share,
    })
  }

  #allow(name: string, options: Parameters<typeof startLoad>[0]): void {
    const kept = tally(name)
    this.allowed.push(kept)
    this.#load(kept, 200, options)
  }

  #deny(name: string, options: Parameters<typeof startLoad>[0]): void {
    const kept = tally(name)
    this.denied.push(kept)
    this.#load(kept, undefined, options)
  }

  /** `wanted` undefined: anything but a success. */
  #load(kept: Tally, wanted: number | undefined, options: Parameters<typeof startLoad>[0]): void {
    const onAnswer = (answer: Answer) => {
      kept.calls += 1
      kept.ms.push(answer.ms)
      const isSuccess = answer.status >= 200 && answer.status < 300
      if (wanted === undefined ? isSuccess : answer.status !== wanted) kept.wrong.push(answer)
    }
    this.#loads.push(startLoad({ ...options, onAnswer, isKept: false }))
  }

  #guests(options: Parameters<typeof startLoad>[0]): void {
    const onAnswer = (answer: Answer) => {
      this.guestCalls += 1
      if (answer.status === 200) this.guestAllowedAt.push(answer.sentAt)
    }
    this.#loads.push(startLoad({ ...options, onAnswer, isKept: false }))
  }

  async stop(): Promise<void> {
    await Promise.all(this.#loads.map((load) => load.stop()))
  }
}

function tally(name: string): Tally {
  return { name, calls: 0, ms: [], wrong: [] }
}

/** Answers that no outage excuses. */
export function unexcused(wrong: readonly Answer[], outages: readonly Outage[]): Answer[] {
  return wrong.filter(
    ({ sentAt, ms }) => !outages.some(({ from, to }) => sentAt + ms >= from && sentAt <= to),
  )
}

/**
 * Guests who were let in later than an edit may take. `granted` are the spans in which they were to be; `absences` of
 * the controller last from its kill until it was ready again: nobody enforces what it had no time to accept.
 */
export function lateGuests(
  allowedAt: readonly number[],
  granted: readonly Outage[],
  absences: readonly Outage[],
): readonly number[] {
  const spans = granted.map(({ from, to }) => ({ from, to: shutOutBy(to, absences) }))
  return allowedAt.filter((at) => !spans.some(({ from, to }) => at >= from && at <= to))
}

/** When a taking-back must be enforced: counted from its edit, or from the return of a controller that missed it. */
export function shutOutBy(takenBackAt: number, absences: readonly Outage[]): number {
  const missed = absences.find(
    ({ from, to }) => takenBackAt > from - ENFORCED_MS && takenBackAt < to + RECONNECT_MS,
  )
  return missed === undefined
    ? takenBackAt + ENFORCED_MS
    : Math.max(takenBackAt, missed.to + RECONNECT_MS) + ENFORCED_MS
}

/** How long after the bound the last of `late` came, milliseconds. */
export function worstDelay(
  late: readonly number[],
  granted: readonly Outage[],
  absences: readonly Outage[],
): number {
  const delayOf = (at: number) => {
    const last = granted.findLast(({ from }) => from <= at)
    return last === undefined ? at : at - shutOutBy(last.to, absences)
  }
  return Math.max(0, ...late.map(delayOf))
}

/** Takings-back that are judged from the controller's return. */
export function missedBy(granted: readonly Outage[], absences: readonly Outage[]): number {
  return granted.filter(({ to }) => shutOutBy(to, absences) !== to + ENFORCED_MS).length
}
