/**
 * Drill: policies that loop, policies of one package, and a valid identity that asks for what isn't its own
 * (issue 4, Shows 8).
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type RawRequest, request } from '../demo/client.ts'
import { startLoad } from '../demo/load.ts'
import { probe, waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { readSerial } from './renewal.ts'
import { type Claim, claim, type DrillReport } from './report.ts'

const WAIT_MS = 10_000
/** Half of a 20 s lifetime, and some more: a renewal comes in this time. */
const RENEWAL_MS = 15_000
const CALLS = 10

const CHARGE: RawRequest = {
  method: 'POST',
  path: '/charge',
  host: 'payments.shop',
  headers: [['content-type', 'application/json']],
  body: '{"amount":25}',
}

/** 27 thousand million turns, no memory: WASM never comes back from it in a lifetime that matters. */
const ENDLESS = `
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: endless, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: payments }]
  rego:
    module: |
      package envoy.authz
      n := numbers.range(1, 3000)
      allow if {
        some a in n
        some b in n
        some c in n
        a + b + c < 0
      }
`

function until(
  what: string,
  condition: () => Promise<boolean>,
  timeoutMs: number,
): Promise<boolean> {
  return waitFor(what, condition, { timeoutMs }).then(
    () => true,
    () => false,
  )
}

/** What must hold while the endless policy is in force. */
async function whileEndless(
  stack: Stack,
  status: () => Promise<number | undefined>,
  before: string | undefined,
): Promise<Claim[]> {
  const answers: (number | undefined)[] = []
  for (let i = 0; i < CALLS; i++) answers.push(await status())
  const refused = answers.every((s) => s !== 200 && s !== undefined)
  const health = await probe(stack.healthPort('shop/payments'), '/healthz')
  const isRenewed = async () => {
    await status()
    return (await readSerial(stack.ports.payments)) !== before
  }
  const renewed = await until('a renewal', isRenewed, RENEWAL_MS)
  return [
    claim('an endless policy: its workload is refused', refused, answers.join(' ')),
    claim("the sidecar's health goes on", health === 200, `healthz ${health ?? 'does not answer'}`),
    claim('its SVID is renewed meanwhile', renewed, renewed ? 'a new serial number' : 'none'),
  ]
}

/** A stack with SVIDs of 20 s. */
export async function drillEndlessPolicy(stack: Stack): Promise<DrillReport> {
  const file = join(stack.manifests, 'endless.yaml')
  const { ordersToPayments, webToOrders, payments } = stack.ports
  const others = startLoad({
    port: webToOrders,
    path: '/orders/42',
    ratePerSecond: 50,
    http1: 2,
    http2: 1,
  })
  const status = async () => (await request(ordersToPayments, CHARGE)).status
  const claims: Claim[] = []
  try {
    await waitFor('charges to pass', async () => (await status()) === 200, { timeoutMs: WAIT_MS })
    const before = await readSerial(payments)
    writeFileSync(file, ENDLESS)
    await waitFor('the loop to be in force', async () => (await status()) !== 200, {
      timeoutMs: WAIT_MS,
    })
    claims.push(...(await whileEndless(stack, status, before)))
    rmSync(file)
    const back = await until('charges to pass again', async () => (await status()) === 200, WAIT_MS)
    claims.push(claim('once it is deleted, calls pass again', back, back ? '200' : 'not back'))
  } finally {
    rmSync(file, { force: true })
    await others.stop()
  }
  const failed = others.answers.filter((a) => a.status !== 200).length
  claims.push(
    claim(
      'other workloads and policies go on',
      failed === 0,
      `${failed} of ${others.answers.length} failed`,
    ),
  )
  return { name: 'a policy that never ends', claims }
}

function onePackage(name: string, action: string, header: string): string {
  return `
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: orders }]
  action: ${action}
  rego:
    module: |
      package envoy.authz
      allow if input.attributes.request.http.headers["${header}"] == "1"
---`
}

/** One ALLOW and one DENY policy, both `package envoy.authz`: merged, either header would allow and deny. */
export async function drillOnePackage(stack: Stack): Promise<DrillReport> {
  const file = join(stack.manifests, 'one-package.yaml')
  const cases = [
    { headers: [], expected: 403 },
    { headers: ['x-allow'], expected: 200 },
    { headers: ['x-deny'], expected: 403 },
    { headers: ['x-allow', 'x-deny'], expected: 403 },
  ]
  const call = async (headers: readonly string[]) =>
    (
      await request(stack.ports.malloryToOrders, {
        path: '/other',
        headers: headers.map((h) => [h, '1'] as const),
      })
    ).status
  const seen: string[] = []
  let right = 0
  try {
    writeFileSync(
      file,
      onePackage('pair-allow', 'ALLOW', 'x-allow') + onePackage('pair-deny', 'DENY', 'x-deny'),
    )
    const isThere = async () =>
      (await call(['x-allow'])) === 200 && (await call(['x-allow', 'x-deny'])) === 403
    await waitFor('both policies to be in force', isThere, { timeoutMs: WAIT_MS }).catch(
      () => undefined,
    )
    for (const { headers, expected } of cases) {
      const status = await call(headers)
      if (status === expected) right++
      seen.push(`${headers.join('+') || 'neither'}: ${status}`)
    }
  } finally {
    rmSync(file, { force: true })
  }
  return {
    name: 'two policies of one package',
    claims: [
      claim('neither changes the answer of the other', right === cases.length, seen.join(', ')),
    ],
  }
}
