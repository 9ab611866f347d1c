/**
 * Drill: the controller is away for longer than the certificates last (SVIDs of 20 s), and comes back. At first nothing
 * changes; when the certificates have ended nothing passes; once it is back everything passes again by itself.
 */
import { startLoad } from '../demo/load.ts'
import { probe, waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { claim, type DrillReport } from './report.ts'

const LIFETIME_MS = 20_000
/** Any outage up to here is ridden out: renewal comes at 40 to 60 % of a lifetime. */
const RIDDEN_MS = 0.4 * LIFETIME_MS
/** A connection that was opened in a certificate's last moment lives for half a lifetime more. */
const LASTS_MS = 1.5 * LIFETIME_MS
const GIVE_UP_MS = 60_000
const QUIET_MS = 3_000
const ORDERS = 'shop/orders'

interface Seen {
  /** Whether each call of the allowed caller passed. */
  readonly ridden: readonly boolean[]
  readonly steady: readonly boolean[]
  /** From the controller's end to the last call that passed. */
  readonly lastedMs: number
}

function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  return waitFor(what, condition, { timeoutMs: GIVE_UP_MS })
}

async function goAndComeBack(
  stack: Stack,
  passes: (from: number) => readonly boolean[],
): Promise<Seen> {
  await until('calls', () => passes(0).filter(Boolean).length > 20)
  await stack.controller?.stop()
  const goneAt = performance.now()
  await until('the time that is ridden out', () => performance.now() - goneAt > RIDDEN_MS)
  const ridden = passes(goneAt)
  const isUnready = async () => (await probe(stack.healthPort(ORDERS), '/readyz')) === 503
  await until('the end of the certificates', isUnready)
  // Connections that were opened before end with the certificate, within half a lifetime at most.
  await until('the last call', () => {
    const lately = passes(performance.now() - QUIET_MS)
    return lately.length > 30 && !lately.some(Boolean)
  })
  const lastedMs = performance.now() - QUIET_MS - goneAt
  await stack.startController()
  const backAt = performance.now()
  await stack.untilReady(ORDERS, GIVE_UP_MS)
  await until('calls again', () => passes(backAt).some(Boolean))
  const steadyAt = performance.now()
  await until('more calls', () => passes(steadyAt).length > 100)
  return { ridden, steady: passes(steadyAt), lastedMs }
}

/** A stack that was started with `withShortSvids`. */
export async function drillAway(stack: Stack): Promise<DrillReport> {
  const common = { path: '/orders/42', http1: 2, http2: 1 }
  const allowed = startLoad({ ...common, port: stack.ports.webToOrders, ratePerSecond: 50 })
  const stranger = startLoad({ ...common, port: stack.ports.malloryToOrders, ratePerSecond: 20 })
  const passes = (from: number) =>
    allowed.answers.filter((a) => a.sentAt >= from).map((a) => a.status === 200)
  const seen = await goAndComeBack(stack, passes)
  await Promise.all([allowed.stop(), stranger.stop()])
  const { ridden, steady, lastedMs } = seen
  const failed = (calls: readonly boolean[]) =>
    `${calls.filter((ok) => !ok).length} of ${calls.length} failed`
  const wrong = stranger.answers.filter(({ status }) => status === 200).length
  return {
    name: 'the controller is away for longer than certificates of 20 s last',
    claims: [
      claim(
        `an outage of 40 % of a lifetime (${RIDDEN_MS / 1000} s) is ridden out`,
        ridden.length > 0 && ridden.every(Boolean),
        failed(ridden),
      ),
      claim(
        'at 1.5 lifetimes at the latest nothing passes, and the proxy is not ready',
        lastedMs <= LASTS_MS,
        `the last call passed ${Math.round(lastedMs / 1000)} s after the controller went`,
      ),
      claim(
        'once it is back all passes again, without a restart or a token',
        steady.every(Boolean),
        failed(steady),
      ),
      claim(
        'the stranger stays denied',
        wrong === 0,
        `${wrong} of ${stranger.answers.length} passed`,
      ),
    ],
  }
}
