/**
 * What an attacker with a valid identity tries, on the whole stack: bytes that two parsers could read differently, bodies
 * in disguise, a certificate of its own making, and calls while policies change. What the app did is told by what it
 * answered, and by the calls that it made itself.
 */
import { generateKeyPairSync, randomBytes, randomUUID, sign, X509Certificate } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseCertificate } from '../../common/certificate.ts'
import { assembleCertificate, buildTbs } from '../../controller/core/ca/tbs.ts'
import { issuerOf, serialFrom, svidTemplate } from '../../controller/core/ca/template.ts'
import { exchange, fromBytes, request, type TlsIdentity } from '../../demo/client.ts'
import { waitFor } from '../../demo/process.ts'
import { type Stack, startStack } from '../../demo/stack.ts'
import { fetchIdentity } from '../../demo/tester.ts'
import {
  BODIES_IN_DISGUISE,
  CHARGE,
  EDITS,
  FRAMINGS,
  HOSTS_OF_THE_DENIED,
  PATHS_TO_THE_DENIED,
  policyOf,
  SMUGGLED,
  UPGRADES,
} from '../kit/attacks.ts'
import { tempDir } from '../kit/tempdir.ts'

const PORT_OFFSET = 5000
const ENFORCED_MS = 5000
/** A web of calls is over by then: nothing says that a smuggled request will not come. */
const AFTERMATH_MS = 300

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Everything that came back within a moment: one connection may bring several answers. */
async function send(port: number, text: string, tls: TlsIdentity): Promise<string> {
  const late = AbortSignal.timeout(AFTERMATH_MS)
  const isEnough = () => late.aborted
  const closing = exchange(port, Buffer.from(text, 'latin1'), { tls, isEnough })
  const { bytes } = await Promise.race([closing, pause(4 * AFTERMATH_MS).then(() => NOTHING)])
  return bytes.toString('latin1')
}
const NOTHING = { bytes: Buffer.alloc(0), ended: 'no answer' }

/** Each `POST /orders` that reaches the orders app makes one of these. */
function chargesOf(stack: Stack): number {
  const lines = readFileSync(stack.decisionLog('shop/payments'), 'utf8').split('\n')
  return lines.filter((line) => line.includes('"path":"/charge"')).length
}

async function refuseFraming(t: Test, stack: Stack, tester: TlsIdentity): Promise<void> {
  const before = chargesOf(stack)
  const answers = await Promise.all(
    [...FRAMINGS, ...UPGRADES].map((head) => send(stack.ports.orders, head + SMUGGLED, tester)),
  )
  for (const [i, answer] of answers.entries()) {
    const head = [...FRAMINGS, ...UPGRADES][i]
    t.notMatch(answer, '"path":"/orders"', `nothing is smuggled behind ${JSON.stringify(head)}`)
  }
  await pause(AFTERMATH_MS)
  t.equal(chargesOf(stack), before, 'and the app acted on none of it')
  await request(stack.ports.webToOrders, { method: 'POST', path: '/orders', body: '{}' })
  t.equal(chargesOf(stack), before + 1, 'which would have been seen')
}

async function refuseDisguises(t: Test, stack: Stack, tester: TlsIdentity): Promise<void> {
  for (const path of PATHS_TO_THE_DENIED) {
    const { status, body } = await request(stack.ports.orders, { path }, tester)
    const seen = status === 200 ? (JSON.parse(body) as { path: string }).path : ''
    t.ok(status !== 200 || seen.startsWith('/public/'), `${path}: ${status} ${seen}`)
  }
  for (const host of HOSTS_OF_THE_DENIED) {
    const { status } = await request(stack.ports.orders, { path: '/public/x', host }, tester)
    t.not(status, 200, `host ${JSON.stringify(host)}: ${status}`)
  }
}

async function refuseBodies(t: Test, stack: Stack): Promise<void> {
  for (const [name, headers, body] of BODIES_IN_DISGUISE) {
    const text = `POST /charge HTTP/1.1\r\nhost: payments.shop\r\nconnection: close\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n${body}`
    const { bytes, ended } = await exchange(
      stack.ports.ordersToPayments,
      Buffer.from(text, 'latin1'),
    )
    const { status } = fromBytes(bytes, ended)
    // 503 is ERR_BODY_NOT_BUFFERED: Envoy does not buffer the body of an upgrade.
    t.ok([400, 403, 503].includes(status ?? 0), `${name}: ${status}`)
  }
  const { status } = await request(stack.ports.ordersToPayments, CHARGE)
  t.equal(status, 200, 'what is meant to pass, passes')
}

/** The tester's SVID as a CA: a leaf must not vouch for anybody. */
function signByLeaf(tester: TlsIdentity, serviceAccount: string): TlsIdentity {
  const leaf = parseCertificate(new X509Certificate(tester.cert ?? '').raw)
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const template = svidTemplate(issuerOf(leaf), {
    identity: { trustDomain: 'shop.example', namespace: 'shop', serviceAccount },
    workloadUid: randomUUID(),
    lifetimeSeconds: 3600,
    maxLifetimeSeconds: 3600,
    serialNumber: serialFrom(randomBytes(16)),
    publicKey: pair.publicKey.export({ format: 'der', type: 'spki' }),
    nowMs: Date.now(),
  })
  const tbs = buildTbs(template)
  const der = assembleCertificate(tbs, sign('sha256', tbs, tester.key ?? ''))
  const pem = new X509Certificate(der).toString()
  const key = pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return { cert: pem + (tester.cert ?? ''), key }
}

async function refuseOwnSigning(t: Test, stack: Stack, tester: TlsIdentity): Promise<void> {
  const forged = signByLeaf(tester, 'web')
  const atService = await request(stack.ports.orders, { path: '/orders/1' }, forged)
  t.equal(atService.status, undefined, `a service refuses it in the handshake: ${atService.ended}`)
  const atController = await request(stack.controllerPort, { path: '/bundles/shop/web' }, forged)
  t.equal(atController.status, 401, 'the controller gives it no bundle')
}

/** Counts answers to a caller that no edit allows, on one connection, until it is stopped. */
function startDenied(port: number): { stop(): Promise<ReadonlyMap<number, number>> } {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const seen = new Map<number, number>()
  let isOn = true
  const headers = { 'content-type': 'application/json' }
  const once = () =>
    new Promise<void>((resolve) => {
      const call = http.request(
        { host: '127.0.0.1', port, path: '/any', method: 'POST', agent, headers },
        (response) => {
          const status = response.statusCode ?? 0
          seen.set(status, (seen.get(status) ?? 0) + 1)
          response.resume().on('end', resolve)
        },
      )
      call.on('error', () => resolve())
      call.end('{"bad":true}')
    })
  const done = (async () => {
    while (isOn) await once()
  })()
  return {
    async stop() {
      isOn = false
      await done
      agent.destroy()
      return seen
    },
  }
}

async function statusOf(stack: Stack, path: string): Promise<number | undefined> {
  return (await request(stack.ports.ordersToPayments, { path })).status
}

async function editUnderAttack(t: Test, stack: Stack): Promise<void> {
  const file = join(stack.manifests, 'payments.yaml')
  const denied = startDenied(stack.ports.malloryToPayments)
  for (const [n, edit] of EDITS.entries()) {
    writeFileSync(`${file}~`, policyOf(edit, `/v/${n}`))
    renameSync(`${file}~`, file)
    const isEnforced = async () =>
      (await statusOf(stack, `/v/${n}`)) === 403 && (await statusOf(stack, '/v/open')) === 200
    await waitFor(`edit ${n} to be enforced`, isEnforced, { timeoutMs: ENFORCED_MS })
  }
  const seen = await denied.stop()
  t.ok((seen.get(403) ?? 0) > EDITS.length, `the caller was denied ${seen.get(403)} times`)
  t.equal(seen.get(200), undefined, `never allowed: ${JSON.stringify([...seen])}`)
}

async function freezeSidecar(t: Test, stack: Stack): Promise<void> {
  const sidecar = stack.sidecars.get('shop/payments')
  sidecar?.kill('SIGSTOP')
  const frozen = await statusOf(stack, '/v/open')
  sidecar?.kill('SIGCONT')
  t.equal(frozen, 503, 'without an answer of the sidecar nothing passes')
  const isBack = async () => (await statusOf(stack, '/v/open')) === 200
  await waitFor('the sidecar to answer', isBack, { timeoutMs: ENFORCED_MS })
}

t.test('attacks on the whole stack', { timeout: 60_000 }, async (t) => {
  const sidecarArgs = ['--drain-seconds', '0']
  const stack = await startStack({ work: tempDir(t), portOffset: PORT_OFFSET, sidecarArgs })
  t.teardown(() => stack.stop())
  const tester = await fetchIdentity(stack, 'shop/tester')
  await t.test('nothing is smuggled', (t) => refuseFraming(t, stack, tester))
  await t.test('paths and hosts in disguise', (t) => refuseDisguises(t, stack, tester))
  await t.test('bodies in disguise', (t) => refuseBodies(t, stack))
  await t.test('an SVID signs nothing', (t) => refuseOwnSigning(t, stack, tester))
  await t.test('no edit opens a gap', (t) => editUnderAttack(t, stack))
  await t.test('a frozen sidecar', (t) => freezeSidecar(t, stack))
})
