/**
 * Drill: versions that don't know each other's policy fields (issue 5, Shows 7). The others are 0.1, as it was: it
 * doesn't know the `when` key `source.ip`. Nobody is let in whom neither the newest nor the last good policy allows.
 */
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { askController } from '../cli/admin-client.ts'
import { request } from '../demo/client.ts'
import { type Answer, startLoad } from '../demo/load.ts'
import { waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { type Claim, claim, type DrillReport } from './report.ts'

const GIVE_UP_MS = 30_000
const ORDERS = 'shop/orders'
const GUESTS = 'authorizationpolicies/skew-guests'

/** Mallory may read from this machine; nobody from elsewhere; web may not read what is closed, from this machine. */
const POLICIES = `
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: skew-guests, namespace: shop }
spec:
  targetRefs:
    - { group: "", kind: Service, name: orders }
    - { group: "", kind: Service, name: payments }
  rules:
    - from: [{ source: { principals: ["spiffe://shop.example/ns/guests/sa/mallory"] } }]
      to: [{ operation: { methods: [GET], paths: ["/orders/*"] } }]
      when: [{ key: source.ip, values: [127.0.0.0/8] }]
    - to: [{ operation: { methods: [GET], paths: ["/secret/*"] } }]
      when: [{ key: source.ip, values: [192.0.2.0/24] }]
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: skew-closed, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: orders }]
  action: DENY
  rules:
    - to: [{ operation: { paths: ["/orders/closed"] } }]
      when: [{ key: source.ip, values: [127.0.0.0/8] }]
`

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
}

interface Status {
  readonly enforced?: string
  readonly conditions?: readonly Condition[]
}

async function statusOf(stack: Stack, path: string): Promise<Status> {
  const found = await askController(
    stack.state,
    'GET',
    `/apis/postern.dev/v1alpha1/namespaces/shop/${path}`,
  )
  return (found as { status?: Status }).status ?? {}
}

async function conditionOf(stack: Stack, path: string, type: string): Promise<Condition> {
  const { conditions } = await statusOf(stack, path)
  const none = { type, status: '', reason: '', message: '' }
  return conditions?.find((c) => c.type === type) ?? none
}

function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  return waitFor(what, condition, { timeoutMs: GIVE_UP_MS })
}

async function get(port: number, path: string): Promise<number> {
  return (await request(port, { path })).status ?? 0
}

/** Callers that nothing at hand allows, from the beginning to the end. */
class Strangers {
  readonly #loads

  constructor({ ports }: Stack) {
    const common = { http1: 1, http2: 1, ratePerSecond: 40 }
    const secret = { ...common, path: '/secret/1' }
    this.#loads = [
      startLoad({ ...secret, port: ports.malloryToOrders }),
      startLoad({ ...secret, port: ports.malloryToPayments }),
    ]
  }

  async claim(): Promise<Claim> {
    await Promise.all(this.#loads.map((load) => load.stop()))
    const answers = this.#loads.flatMap((load): readonly Answer[] => load.answers)
    const wrong = answers.filter(({ status }) => status === 200).length
    return claim(
      'whom only a reader that drops the new field would let in, calling throughout, is never let in',
      wrong === 0,
      `${wrong} wrong allows of ${answers.length}`,
    )
  }
}

/** The sidecar of orders is 0.1. */
async function oldSidecar(stack: Stack): Promise<Claim[]> {
  const { ports } = stack
  appendFileSync(join(stack.manifests, 'orders.yaml'), POLICIES)
  await until(
    'a newer sidecar to enforce it',
    async () => (await get(ports.malloryToPayments, '/orders/7')) === 200,
  )
  const isNamed = async () =>
    (await conditionOf(stack, GUESTS, 'Enforced')).reason === 'UnsupportedByProxy' &&
    (await statusOf(stack, GUESTS)).enforced === '1/2'
  await until('status to name the older sidecar', isNamed)
  const { message } = await conditionOf(stack, GUESTS, 'Enforced')
  const programmed = await conditionOf(stack, GUESTS, 'Programmed')
  const { enforced } = await statusOf(stack, GUESTS)
  const guest = await get(ports.malloryToOrders, '/orders/7')
  const web = await get(ports.webToOrders, '/orders/7')
  return [
    claim(
      'an older sidecar with a newer controller stays at its last good',
      guest === 403 && web === 200,
      `the guest of the new policy ${guest}, the caller of the old one ${web}`,
    ),
    claim(
      'status says which proxy lags, what it lacks and for which policy',
      enforced === '1/2' && /of shop\/orders lacks when\/source\.ip/.test(message),
      `Enforced ${enforced}: ${message}`,
    ),
    claim(
      'and that it was not sent',
      programmed.status === 'False',
      `Programmed ${programmed.status}`,
    ),
  ]
}

/** It is stopped, forgets all, joins anew: there is no last good. */
async function oldSidecarAnew(stack: Stack): Promise<Claim[]> {
  await stack.sidecars.get(ORDERS)?.stop()
  stack.sidecars.delete(ORDERS)
  rmSync(stack.stateOf(ORDERS), { recursive: true })
  await stack.startSidecar(ORDERS)
  const isThere = async () =>
    (await conditionOf(stack, 'workloadentries/orders', 'Connected')).status === 'True'
  await until('the new old sidecar to be connected', isThere)
  const web = await get(stack.ports.webToOrders, '/orders/7')
  const guest = await get(stack.ports.malloryToOrders, '/orders/7')
  const programmed = await conditionOf(stack, 'workloadentries/orders', 'Programmed')
  return [
    claim(
      'an older sidecar without a last good gets nothing and lets nobody in',
      web !== 200 && guest !== 200 && programmed.reason === 'UnsupportedByProxy',
      `${web} and ${guest}; ${programmed.reason}`,
    ),
  ]
}

async function upgrade(stack: Stack): Promise<Claim[]> {
  await stack.sidecars.get(ORDERS)?.stop()
  stack.programs.delete(ORDERS)
  await stack.startSidecar(ORDERS)
  await stack.untilReady(ORDERS)
  await until('all to enforce it', async () => (await statusOf(stack, GUESTS)).enforced === '2/2')
  const guest = await get(stack.ports.malloryToOrders, '/orders/7')
  const closed = await get(stack.ports.webToOrders, '/orders/closed')
  return [
    claim(
      'upgraded, it enforces the newest',
      guest === 200 && closed === 403,
      `Enforced 2/2; the guest ${guest}, what is closed ${closed}`,
    ),
  ]
}

function logOf(stack: Stack, workload: string): string {
  return readFileSync(stack.sidecars.get(workload)?.logFile ?? '', 'utf8')
}

/** The controller is rolled back, with the same state and the same manifests. */
async function oldController(stack: Stack, version: string): Promise<Claim[]> {
  const { ports } = stack
  const closed = startLoad({
    ...{ port: ports.webToOrders, path: '/orders/closed' },
    ...{ http1: 1, http2: 1, ratePerSecond: 50 },
  })
  await stack.controller?.stop()
  stack.programs.set('controller', version)
  await stack.startController()
  const isKept = () => /does not know when\/source\.ip/.test(logOf(stack, ORDERS))
  await until('the sidecar to keep what it has', isKept)
  const problems = await stack.postern('get', 'problems')
  // Starts from its own disk, with the older controller there.
  await stack.sidecars.get(ORDERS)?.stop()
  await stack.startSidecar(ORDERS)
  await stack.untilReady(ORDERS)
  await until(
    'calls after the restart',
    async () => (await get(ports.webToOrders, '/orders/7')) === 200,
  )
  const restarted = await get(ports.webToOrders, '/orders/closed')
  await closed.stop()
  const wrong = closed.answers.filter(({ status }) => status === 200).length
  const lag = await conditionOf(stack, 'authorizationpolicies/orders-callers', 'Enforced')
  return [
    claim(
      'an older controller can’t take away a DENY that it doesn’t know',
      wrong === 0 && closed.answers.length > 0 && restarted === 403,
      `${wrong} wrong allows of ${closed.answers.length}; after a restart of the sidecar ${restarted}`,
    ),
    claim(
      'it refuses the field by name',
      /skew-closed.*spec\.rules\[0\]\.when\[0\]\.key/.test(problems),
      /skew-closed.*$/m.exec(problems)?.[0].trim() ?? 'nothing is said',
    ),
    claim(
      'its status says which proxy lags, and why',
      lag.status === 'False' && /shop\/orders.*does not know when\/source\.ip/.test(lag.message),
      lag.message,
    ),
  ]
}

async function newController(stack: Stack): Promise<Claim[]> {
  await stack.controller?.stop()
  stack.programs.delete('controller')
  await stack.startController()
  const isEnforced = async () => (await statusOf(stack, GUESTS)).enforced === '2/2'
  await until('all to be in step again', isEnforced)
  const file = join(stack.manifests, 'orders.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace(POLICIES, ''))
  await until(
    'the policies to be taken away',
    async () => (await get(stack.ports.webToOrders, '/orders/closed')) === 200,
  )
  return [claim('upgraded again, all are in step, and follow edits', true, 'Enforced 2/2')]
}

/** On a stack whose sidecar of orders is 0.1. */
export async function drillSkew(stack: Stack): Promise<DrillReport> {
  const version = stack.programs.get(ORDERS) ?? ''
  const strangers = new Strangers(stack)
  const claims: Claim[] = []
  try {
    claims.push(...(await oldSidecar(stack)))
    claims.push(...(await oldSidecarAnew(stack)))
    claims.push(...(await upgrade(stack)))
    claims.push(...(await oldController(stack, version)))
    claims.push(...(await newController(stack)))
  } finally {
    claims.push(await strangers.claim())
  }
  return { name: 'versions that don’t know each other’s fields', claims }
}
