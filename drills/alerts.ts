/**
 * Drill: a real Prometheus with our rules watches a stack while things go wrong (issue 5, Shows 8). Each alert must fire
 * for its reason and end with it, and nothing may fire while all is well.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { startLoad } from '../demo/load.ts'
import { waitFor } from '../demo/process.ts'
import { WORKLOADS } from '../demo/shop.ts'
import type { Stack } from '../demo/stack.ts'
import { envoyOf } from './outage.ts'
import { type Prometheus, startPrometheus } from './prometheus.ts'
import { type Claim, claim, type DrillReport } from './report.ts'

const FIRES_MS = 60_000
/** Looks at alerts while nothing is wrong. */
const QUIET_LOOKS = 6
/** Of the stack's port range: not one that the shop uses. */
const PROMETHEUS_PORT = 21390

interface Trouble {
  readonly alerts: readonly string[]
  readonly what: string
  /** Brings it on; returns what ends it. */
  readonly begin: (stack: Stack) => Promise<() => Promise<void>>
}

/** The demo's tester has an identity and no sidecar. */
const EXPECTED = 'PosternProxiesMissing'

/** How long the drill is: the short one leaves out what waits for a certificate's end. */
export type AlertDrillLength = 'short' | 'full'

const CONTROLLER_KILLED: Trouble = {
  what: 'the controller is killed',
  alerts: ['PosternControllerAbsent', 'PosternControllerAway'],
  begin: killController,
}

const ALL: readonly Trouble[] = [
  {
    ...CONTROLLER_KILLED,
    what: 'the controller is killed, and certificates of 20 s are not renewed',
    alerts: [...CONTROLLER_KILLED.alerts, 'PosternSvidExpiresSoon'],
  },
  {
    what: 'an Envoy is told to listen on a port that is taken',
    alerts: ['PosternProxyRefuses', 'PosternProxiesLag', 'PosternNotInSync'],
    begin: takePort,
  },
  { what: 'a stranger calls and calls', alerts: ['PosternDenialSurge'], begin: callInVain },
  { what: 'a manifest is broken', alerts: ['PosternManifestProblems'], begin: breakManifest },
  {
    what: 'an Envoy is killed again and again',
    alerts: ['PosternEnvoyCrashLoops', 'PosternDecisionsLost'],
    begin: killEnvoys,
  },
]

/** On a stack with certificates of 20 s for the full length. */
export async function drillAlerts(stack: Stack, length: AlertDrillLength): Promise<DrillReport> {
  const port = PROMETHEUS_PORT + stack.ports.web - 21001
  const prometheus = await startPrometheus(stack, { port, workloads: WORKLOADS })
  const claims: Claim[] = []
  try {
    claims.push(await quiet(prometheus))
    const short = [CONTROLLER_KILLED, ...ALL.slice(1, 3)]
    for (const trouble of length === 'full' ? ALL : short)
      claims.push(...(await provoke(stack, prometheus, trouble)))
  } finally {
    await prometheus.stop()
  }
  return { name: 'alerts fire and end, in a real Prometheus', claims }
}

/** What fired before the first scrape has ended then. */
async function quiet(prometheus: Prometheus): Promise<Claim> {
  const unexpected = async () => [...(await prometheus.firing())].filter((n) => n !== EXPECTED)
  const isQuiet = async () => (await unexpected()).length === 0
  await waitFor('alerts of the start to end', isQuiet, { timeoutMs: FIRES_MS }).catch(() => {})
  const seen = new Set<string>()
  for (let i = 0; i < QUIET_LOOKS; i++) {
    for (const name of await unexpected()) seen.add(name)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  return claim('while all is well nothing fires', seen.size === 0, [...seen].join(' ') || 'nothing')
}

async function provoke(stack: Stack, prometheus: Prometheus, trouble: Trouble): Promise<Claim[]> {
  const { alerts, what, begin } = trouble
  const from = performance.now()
  const end = await begin(stack)
  const fired = await until(prometheus, alerts, true)
  const firedMs = performance.now() - from
  await end()
  const ended = await until(prometheus, alerts, false)
  const seen = (names: readonly string[]) => names.join(' ') || 'none'
  return [
    claim(
      `${what}: ${alerts.join(', ')}`,
      fired.length === alerts.length,
      `${seen(fired)} after ${(firedMs / 1000).toFixed(0)} s`,
    ),
    claim('and once it is over they end', ended.length === alerts.length, seen(ended)),
  ]
}

/** Those that came to fire, or to be silent, in time. */
async function until(
  prometheus: Prometheus,
  alerts: readonly string[],
  isFiring: boolean,
): Promise<readonly string[]> {
  const reached = new Set<string>()
  const look = async () => {
    const firing = await prometheus.firing()
    for (const name of alerts) {
      if (firing.has(name) === isFiring) reached.add(name)
      else if (!isFiring) reached.delete(name)
    }
    return reached.size === alerts.length
  }
  await waitFor(`alerts ${isFiring ? 'fire' : 'end'}`, look, { timeoutMs: FIRES_MS }).catch(
    () => {},
  )
  return [...reached]
}

async function killController(stack: Stack): Promise<() => Promise<void>> {
  stack.controller?.kill('SIGKILL')
  await stack.controller?.ended
  return () => stack.startController()
}

/** Another program has the port that a workload gets: its Envoy can't listen, and says so. */
async function takePort(stack: Stack): Promise<() => Promise<void>> {
  const port = stack.ports.malloryToLedger + 50
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const file = join(stack.manifests, 'workloads.yaml')
  const text = readFileSync(file, 'utf8')
  const own = `port: ${stack.ports.ordersToLedger}`
  writeFileSync(file, text.replace(own, `port: ${port}`))
  return async () => {
    writeFileSync(file, text)
    await new Promise((resolve) => server.close(resolve))
  }
}

async function callInVain(stack: Stack): Promise<() => Promise<void>> {
  const load = startLoad({
    ...{ port: stack.ports.malloryToOrders, path: '/orders/42', http1: 2, http2: 1 },
    ratePerSecond: 40,
  })
  return async () => {
    await load.stop()
  }
}

async function breakManifest(stack: Stack): Promise<() => Promise<void>> {
  const file = join(stack.manifests, 'orders.yaml')
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, text.replace('action: ALLOW', 'action: PERHAPS'))
  return async () => writeFileSync(file, text)
}

async function killEnvoys(stack: Stack): Promise<() => Promise<void>> {
  const sidecar = stack.sidecars.get('shop/orders')?.pid ?? -1
  for (let killed = 0; killed < 5; ) {
    const envoy = envoyOf(sidecar)
    if (envoy !== undefined) {
      process.kill(envoy, 'SIGKILL')
      killed += 1
    }
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  return async () => {}
}
