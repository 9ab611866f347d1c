/** The identity loop under a clock that the test moves: renewal, outage, expiry, jumps, a token that comes later. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Secret } from '../../../../common/secret.ts'
import { nodeKeys } from '../../../../sidecar/adapters/crypto/keys.ts'
import { startIdentity } from '../../../../sidecar/runtime/identity.ts'
import { Attester } from '../../../../sidecar/runtime/identity-attest.ts'
import { makeCa } from '../../../kit/identity.ts'
import {
  MemoryState,
  makeClient,
  makeController,
  silentLog,
  type TestController,
} from '../../../kit/identity-controller.ts'
import { waitFor } from '../../../kit/wait.ts'

const tokenFor = async (controller: TestController) =>
  (await controller.identity.createJoinToken({ workload: 'shop/web' })).token

/** A sidecar whose waiting is the test's: `tick(ms)` moves time and lets it look once. */
async function start(
  t: Test,
  controller: TestController,
  options: { token?: Secret<string>; state?: MemoryState } = {},
) {
  const tokenFile = { text: options.token }
  const isDown = { value: false }
  const client = makeClient(controller)
  let wake = () => {}
  let looks = 0
  let attempts = 0
  const attester = new Attester({
    state: options.state ?? new MemoryState(),
    client: {
      fetchTrust: client.fetchTrust,
      attest: (...args) => {
        attempts += 1
        if (isDown.value) throw new Error('down')
        return client.attest(...args)
      },
    },
    keys: nodeKeys,
    readJoinToken: async () => tokenFile.text,
    clock: controller.clock,
    instanceId: randomBytes(16).toString('hex'),
  })
  const identity = await startIdentity({
    attester,
    clock: controller.clock,
    log: silentLog,
    signal: new AbortController().signal,
    random: () => 0.5,
    sleep: (_, signal) =>
      new Promise((resolve) => {
        looks += 1
        wake = resolve
        signal.addEventListener('abort', () => resolve(), { once: true })
      }),
  })
  t.teardown(() => identity.stop())
  const looked = (count: number) => waitFor(() => looks >= count, { what: 'a look' })
  await looked(1)
  const tick = async (ms = 0) => {
    controller.clock.advance(ms)
    const next = looks + 1
    wake()
    await looked(next)
  }
  return { identity, tick, isDown, tokenFile, attempts: () => attempts }
}

t.test('renews at half-life and not before', async (t) => {
  const controller = await makeController({ svidLifetimeSeconds: 20 })
  const { identity, tick } = await start(t, controller, { token: await tokenFor(controller) })
  const seen: string[] = []
  identity.subscribe((svid) => seen.push(svid.serialNumber))
  t.equal(seen.length, 1, 'told at once')
  await tick(9_900)
  t.equal(seen.length, 1)
  await tick(200)
  t.equal(seen.length, 2)
  t.equal(identity.current()?.serialNumber, seen[1])
})

t.test('keeps the old one while the controller is away, and drops it when it ends', async (t) => {
  const controller = await makeController({ svidLifetimeSeconds: 20 })
  const { identity, tick, isDown } = await start(t, controller, {
    token: await tokenFor(controller),
  })
  const first = identity.current()
  isDown.value = true
  await tick(10_100)
  t.equal(identity.current(), first)
  t.match(identity.problem(), { code: 'ERR_INTERNAL' })
  await tick(9_000)
  t.equal(identity.current(), first)
  controller.clock.advance(1_000)
  t.equal(identity.current(), undefined, 'without even a look')
  isDown.value = false
  await tick(15_000)
  t.ok(identity.current())
  t.equal(identity.problem(), undefined)
})

t.test(
  'a full disk ends no workload: renewals count, and are stored when there is room',
  async (t) => {
    const controller = await makeController({ svidLifetimeSeconds: 20 })
    const state = new MemoryState()
    const token = await tokenFor(controller)
    const { identity, tick } = await start(t, controller, { token, state })
    state.failWrites = true
    for (let i = 0; i < 4; i++) {
      const before = identity.current()?.serialNumber
      await tick(10_100)
      t.not(identity.current()?.serialNumber, before)
      t.match(identity.problem(), { code: 'ERR_STATE_WRITE' })
    }
    const full = state.text
    state.failWrites = false
    await tick(5_100)
    t.equal(identity.problem(), undefined)
    t.not(state.text, full)
  },
)

t.test('waits longer from attempt to attempt, within bounds', async (t) => {
  const controller = await makeController()
  const { tick, isDown, attempts } = await start(t, controller, {})
  isDown.value = true
  t.equal(attempts(), 0, 'no token: nobody is asked')
  const second = await start(t, controller, { token: await tokenFor(controller) })
  t.equal(second.attempts(), 1)
  await tick(0)
  second.isDown.value = true
  await second.tick(1_800_000)
  const before = second.attempts()
  for (let i = 0; i < 60; i++) await second.tick(500)
  const made = second.attempts() - before
  t.ok(made >= 3 && made <= 8, `${made} attempts in 30 s`)
})

t.test('a wall clock put back does not make an SVID live longer', async (t) => {
  const controller = await makeController({ svidLifetimeSeconds: 20 })
  const { identity, isDown } = await start(t, controller, { token: await tokenFor(controller) })
  isDown.value = true
  controller.clock.jumpWall(-3_600_000)
  t.ok(identity.current())
  controller.clock.advance(20_000)
  t.equal(identity.current(), undefined)
})

t.test('a wall clock put forward ends it, and a new one is had at once', async (t) => {
  const controller = await makeController({ svidLifetimeSeconds: 20 })
  const { identity, tick } = await start(t, controller, { token: await tokenFor(controller) })
  const first = identity.current()
  controller.clock.sleep(3_600_000)
  t.equal(identity.current(), undefined)
  await tick(0)
  t.not(identity.current()?.serialNumber, first?.serialNumber)
  t.ok(identity.current())
})

t.test('a token that comes later, or replaces a refused one, is taken at once', async (t) => {
  const controller = await makeController()
  const sidecar = await start(t, controller)
  t.match(sidecar.identity.problem(), { code: 'ERR_TOKEN_INVALID', message: /no join token/ })
  const foreign = await makeController()
  sidecar.tokenFile.text = await tokenFor(foreign)
  await sidecar.tick(100)
  t.match(sidecar.identity.problem(), { code: 'ERR_CONTROLLER_UNTRUSTED' })
  await sidecar.tick(100)
  t.equal(sidecar.attempts(), 0, 'the same refused token is not tried again at once')
  sidecar.tokenFile.text = await tokenFor(controller)
  await sidecar.tick(100)
  t.ok(sidecar.identity.current())
})

t.test('a revoked credential is replaced by a new token in the file', async (t) => {
  const controller = await makeController({ svidLifetimeSeconds: 20 })
  const state = new MemoryState()
  const token = await tokenFor(controller)
  const first = await start(t, controller, { token, state })
  await first.identity.stop()
  controller.workloads.splice(0, 1, { ...controller.workloads[0], uid: 'uid-web-2' } as never)
  const second = await start(t, controller, { token, state })
  t.match(second.identity.problem(), { code: 'ERR_CREDENTIAL_REVOKED' })
  second.tokenFile.text = await tokenFor(controller)
  await second.tick(100)
  t.equal(second.identity.current()?.workload.uid, 'uid-web-2')
})

t.test('distributed roots are kept, but only of this trust domain', async (t) => {
  const controller = await makeController()
  const state = new MemoryState()
  const { identity } = await start(t, controller, { token: await tokenFor(controller), state })
  const [root = new Uint8Array()] = identity.current()?.trustBundle ?? []
  const next = await makeCa({ nowMs: controller.clock.now() })
  await identity.updateTrustBundle([root, next.root.der])
  t.equal(identity.current()?.trustBundle.length, 2)
  t.match(state.text, Buffer.from(next.root.der).toString('base64'))
  const foreign = await makeCa({ trustDomain: 'other.example' })
  for (const roots of [[], [foreign.root.der], [Buffer.from('x')]])
    await t.rejects(identity.updateTrustBundle(roots), { code: 'ERR_CONTROLLER_UNTRUSTED' })
  t.equal(identity.current()?.trustBundle.length, 2)
})

t.test('stops at once', async (t) => {
  const controller = await makeController()
  const { identity } = await start(t, controller)
  await identity.stop()
  t.pass()
})
