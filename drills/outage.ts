/**
 * Drill: the controller, a sidecar and Envoy are killed with SIGKILL (issue 4, Shows 3). Calls go on where they can, are
 * refused where they can't, and a stranger who calls throughout is never let in.
 */
import { readFileSync } from 'node:fs'
import { type Answer, startLoad } from '../demo/load.ts'
import { probe, waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { type Claim, claim, type DrillReport, timedClaim } from './report.ts'

const BACK_MS = 1000
const GIVE_UP_MS = 30_000
const ORDERS = 'shop/orders'

/** The pid of the Envoy whose parent is `pid`, or undefined. Linux only. */
export function envoyOf(pid: number): number | undefined {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return children
    .filter((c) => c !== '')
    .map(Number)
    .find((c) => readFileSync(`/proc/${c}/comm`, 'utf8').trim() === 'envoy')
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

class Callers {
  readonly allowed
  readonly stranger

  constructor(stack: Stack) {
    const common = { path: '/orders/42', http1: 2, http2: 1 }
    this.allowed = startLoad({ ...common, port: stack.ports.webToOrders, ratePerSecond: 100 })
    this.stranger = startLoad({ ...common, port: stack.ports.malloryToOrders, ratePerSecond: 50 })
  }

  /** Answers of the allowed caller to requests sent since `from`. */
  since(from: number): Answer[] {
    return this.allowed.answers.filter((a) => a.sentAt >= from)
  }

  /** Waits until `count` more of its requests were answered. */
  async more(count: number): Promise<readonly Answer[]> {
    const from = performance.now()
    await waitFor(`${count} more answers`, () => this.since(from).length >= count, {
      timeoutMs: GIVE_UP_MS,
    })
    return this.since(from)
  }

  async untilAllowed(): Promise<number> {
    const from = performance.now()
    const isBack = () => this.since(from).some((a) => a.status === 200)
    await waitFor('calls to pass again', isBack, { timeoutMs: GIVE_UP_MS })
    return (
      Math.min(
        ...this.since(from)
          .filter((a) => a.status === 200)
          .map((a) => a.sentAt),
      ) - from
    )
  }

  async stop(): Promise<void> {
    await Promise.all([this.allowed.stop(), this.stranger.stop()])
  }
}

function envoyPid(stack: Stack, workload: string): number {
  const pid = envoyOf(stack.sidecars.get(workload)?.pid ?? -1)
  if (pid === undefined) throw new Error(`${workload} has no Envoy`)
  return pid
}

/** Kills Envoy; its sidecar must bring it back. */
async function killEnvoy(stack: Stack, callers: Callers, when: string): Promise<Claim[]> {
  process.kill(envoyPid(stack, ORDERS), 'SIGKILL')
  const ms = await callers.untilAllowed()
  const after = await callers.more(50)
  const failed = after.filter((a) => a.status !== 200).length
  return [
    timedClaim(
      `kill -9 of Envoy (${when}): calls pass again within ${BACK_MS} ms`,
      ms <= BACK_MS,
      `${ms.toFixed(0)} ms`,
    ),
    claim(
      `and all of the next calls do (${when})`,
      failed === 0,
      `${failed} of ${after.length} failed`,
    ),
  ]
}

async function killController(stack: Stack, callers: Callers): Promise<Claim[]> {
  const from = performance.now()
  stack.controller?.kill('SIGKILL')
  await stack.controller?.ended
  await callers.more(200)
  const all = callers.since(from)
  const failed = all.filter((a) => a.status !== 200).length
  return [
    claim(
      'kill -9 of the controller: calls go on as before',
      failed === 0,
      `${failed} of ${all.length} failed`,
    ),
  ]
}

/** With the controller away: what is refused, and that it stays refused. */
async function killSidecarAlone(stack: Stack, callers: Callers): Promise<Claim[]> {
  const envoy = envoyPid(stack, ORDERS)
  const sidecar = stack.sidecars.get(ORDERS)
  sidecar?.kill('SIGKILL')
  await sidecar?.ended
  await waitFor('Envoy to die with its sidecar', () => !isAlive(envoy), { timeoutMs: 2000 })
  await stack.startSidecar(ORDERS)
  const refused = await callers.more(100)
  const passed = refused.filter((a) => a.status === 200).length
  const ready = await probe(stack.healthPort(ORDERS), '/readyz')
  return [
    claim('kill -9 of a sidecar: its Envoy dies with it', !isAlive(envoy), `pid ${envoy} is gone`),
    claim(
      'restarted without a controller (its key is gone) it refuses all',
      passed === 0,
      `${passed} of ${refused.length} passed`,
    ),
    claim('and says that it is not ready', ready !== 200, `readyz ${ready ?? 'does not answer'}`),
  ]
}

async function bringControllerBack(stack: Stack, callers: Callers): Promise<Claim[]> {
  await stack.startController()
  await stack.untilReady(ORDERS)
  await callers.untilAllowed()
  const after = await callers.more(100)
  const failed = after.filter((a) => a.status !== 200).length
  return [
    claim(
      'once the controller is back the sidecar comes up by itself, without a new token',
      failed === 0,
      `${failed} of ${after.length} failed`,
    ),
  ]
}

async function killSidecar(stack: Stack, callers: Callers): Promise<Claim[]> {
  const sidecar = stack.sidecars.get(ORDERS)
  const envoy = envoyPid(stack, ORDERS)
  sidecar?.kill('SIGKILL')
  await sidecar?.ended
  await waitFor('Envoy to die with its sidecar', () => !isAlive(envoy), { timeoutMs: 2000 })
  const away = await callers.more(30)
  const passed = away.filter((a) => a.status === 200).length
  await stack.startSidecar(ORDERS)
  await stack.untilReady(ORDERS)
  await callers.untilAllowed()
  return [
    claim(
      'kill -9 of a sidecar: refused until it is back',
      passed === 0,
      `${passed} of ${away.length} passed`,
    ),
  ]
}

/** All of it, `rounds` times. */
export async function drillOutage(stack: Stack, rounds: number): Promise<DrillReport> {
  const callers = new Callers(stack)
  const claims: Claim[] = []
  try {
    await callers.more(50)
    for (let i = 0; i < rounds; i++) {
      claims.push(...(await killEnvoy(stack, callers, 'controller there')))
      claims.push(...(await killController(stack, callers)))
      claims.push(...(await killEnvoy(stack, callers, 'controller away, from what is cached')))
      claims.push(...(await killSidecarAlone(stack, callers)))
      claims.push(...(await bringControllerBack(stack, callers)))
      claims.push(...(await killSidecar(stack, callers)))
    }
  } finally {
    await callers.stop()
  }
  const wrong = callers.stranger.answers.filter((a) => a.status >= 200 && a.status < 300).length
  const total = callers.stranger.answers.length
  const denied = callers.stranger.answers.filter((a) => a.status === 403).length
  return {
    name: 'the controller, a sidecar and Envoy are killed',
    claims: [
      ...claims,
      claim(
        'a caller that is to be denied, calling throughout, is never let in',
        wrong === 0,
        `${wrong} wrong allows of ${total} (${denied} times 403, else no answer)`,
      ),
    ],
  }
}
