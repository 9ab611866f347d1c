/** A pod's sidecar getting its SVID: from files that change, from what it kept, and never from anybody else. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { MeshError } from '../../../../common/errors.ts'
import { toPem } from '../../../../common/pem.ts'
import { Secret } from '../../../../common/secret.ts'
import { nodeKeys } from '../../../../sidecar/adapters/crypto/keys.ts'
import type { ControllerClient } from '../../../../sidecar/runtime/identity-ports.ts'
import { PodAttester } from '../../../../sidecar/runtime/pod-attest.ts'
import { makeCa } from '../../../kit/identity.ts'
import {
  MemoryState,
  makeClient,
  makeController,
  silentLog,
  WEB,
} from '../../../kit/identity-controller.ts'

const HERE = '10.1.0.9'
const OWNER = {
  namespace: 'shop',
  serviceAccount: 'web',
  podName: 'web',
  podUid: WEB.uid,
  nodeName: 'node-1',
}
const POD = { namespace: 'shop', name: 'web', uid: WEB.uid, serviceAccount: 'web' }
const { signal } = new AbortController()

async function makeWorld() {
  const reviewed: string[] = []
  const controller = await makeController({
    pods: {
      review: async (token) => {
        reviewed.push(token.reveal())
        return token.reveal() === 'wrong' ? undefined : OWNER
      },
      podOf: () => ({ addresses: [HERE], isTerminating: false, nodeName: 'node-1' }),
      isPodAddress: () => true,
    },
  })
  const roots = controller.identity.authority.trustBundlePem
  const files: { token: string | undefined; roots: string | undefined } = { token: 'one', roots }
  const calls: Parameters<ControllerClient['attest']>[] = []
  const state = new MemoryState()
  const client = makeClient(controller, { address: HERE })
  const text = (value: string | undefined) => (value === undefined ? undefined : new Secret(value))
  const start = (pod: Partial<typeof POD> = {}, attest = client.attest) =>
    new PodAttester({
      pod: { ...POD, ...pod },
      readToken: async () => text(files.token),
      readRoots: async () => text(files.roots),
      state,
      client: {
        attest: (...call) => {
          calls.push(call)
          return attest(...call)
        },
      },
      keys: nodeKeys,
      clock: controller.clock,
      instanceId: randomBytes(16).toString('hex'),
      log: silentLog,
    })
  return { controller, reviewed, files, calls, state, start, client }
}

t.test('asks for exactly this pod, with the newest token, and with its SVID', async (t) => {
  const { start, files, calls, reviewed } = await makeWorld()
  const attester = start()
  const svid = await attester.attest(undefined, signal)
  t.match(svid, { spiffeId: WEB.spiffeId, workload: { uid: WEB.uid } })
  t.match(calls[0]?.[0], { trustDomain: 'shop.example' })
  files.token = 'two'
  const renewed = await attester.attest(svid, signal)
  t.not(renewed.serialNumber, svid.serialNumber)
  t.equal(calls[1]?.[2].svid, svid)
  t.same(reviewed, ['one', 'two'])
})

t.test('believes the roots that are mounted, and asks nobody without them', async (t) => {
  const { start, files, calls } = await makeWorld()
  const attester = start()
  const good = files.roots
  const foreign = toPem((await makeCa({ trustDomain: 'other.example' })).root.der)
  for (const roots of [undefined, '', 'x', foreign + good, `${good}`.replace('M', 'N')]) {
    files.roots = roots
    await t.rejects(attester.attest(undefined, signal), { code: 'ERR_CONFIG' })
  }
  t.equal(calls.length, 0)
  const next = toPem((await makeCa()).root.der)
  files.roots = `# the next one\n${next}${good}`
  await attester.attest(undefined, signal)
  t.equal(calls[0]?.[0].roots.length, 2)
})

t.test('without a token nobody is asked', async (t) => {
  const { start, files, calls } = await makeWorld()
  for (const token of [undefined, '']) {
    files.token = token
    await t.rejects(start().attest(undefined, signal), { code: 'ERR_TOKEN_INVALID' })
  }
  t.equal(calls.length, 0)
})

t.test('a refused attempt need not wait when a file is another', async (t) => {
  const { start, files } = await makeWorld()
  const attester = start()
  const before = await attester.proofText()
  t.equal(await attester.proofText(), before)
  files.token = 'two'
  const between = await attester.proofText()
  t.not(between, before)
  files.roots = 'x'
  t.not(await attester.proofText(), between)
})

t.test('an answer for another pod, or with more than was asked for, is refused', async (t) => {
  const { start, client, state } = await makeWorld()
  for (const pod of [{ uid: 'other' }, { name: 'other' }])
    await t.rejects(start(pod).attest(undefined, signal), { code: 'ERR_CONTROLLER_UNTRUSTED' })
  // The controller itself refuses what the token's pod is not.
  await t.rejects(start({ serviceAccount: 'orders' }).attest(undefined, signal), {
    code: 'ERR_PEER_FORBIDDEN',
  })
  const more: ControllerClient['attest'] = async (...call) => ({
    ...(await client.attest(...call)),
    credential: Buffer.from('x'),
  })
  await t.rejects(start({}, more).attest(undefined, signal), { code: 'ERR_CONTROLLER_UNTRUSTED' })
  t.equal(state.text, undefined, 'and not kept')
})

t.test('a restarted container goes on with what it kept', async (t) => {
  const { start, files, state, calls, controller } = await makeWorld()
  const svid = await start().attest(undefined, signal)
  const away: ControllerClient['attest'] = async () => {
    throw new MeshError('ERR_CONTROLLER_UNAVAILABLE', 'away')
  }
  const again = start({}, away)
  files.token = undefined
  t.equal((await again.attest(undefined, signal)).serialNumber, svid.serialNumber)
  t.equal(calls.length, 1, 'nobody was asked')
  files.token = 'two'
  await t.rejects(again.attest(svid, signal), { code: 'ERR_CONTROLLER_UNAVAILABLE' }, 'but once')
  await again.updateTrustBundle([...svid.trustBundle, ...svid.trustBundle])
  t.equal((await start({}, away).attest(undefined, signal)).trustBundle.length, 2)
  const good = state.text ?? ''
  const bad: readonly (readonly [string, () => void, Partial<typeof POD>])[] = [
    ['another pod’s', () => {}, { uid: 'other' }],
    ['damaged', () => (state.text = good.slice(1)), {}],
    ['with another key', () => (state.text = withOtherKey(good)), {}],
    ['under other roots', () => (files.roots = otherRoots), {}],
    ['ended', () => controller.clock.advance(3_600_000), {}],
  ]
  const otherRoots = toPem((await makeCa({ nowMs: controller.clock.now() })).root.der)
  const roots = files.roots
  for (const [name, spoil, pod] of bad) {
    spoil()
    const started = start(pod, away).attest(undefined, signal)
    await t.rejects(started, { code: 'ERR_CONTROLLER_UNAVAILABLE' }, name)
    state.text = good
    files.roots = roots
  }
})

t.test('a full memory volume is told, and ends nothing', async (t) => {
  const { start, state } = await makeWorld()
  const attester = start()
  state.failWrites = true
  await attester.attest(undefined, signal)
  t.match(attester.storeProblem(), { code: 'ERR_STATE_WRITE' })
  state.failWrites = false
  await attester.storeAgain()
  t.equal(attester.storeProblem(), undefined)
  t.ok(state.text)
})

function withOtherKey(text: string): string {
  const document = JSON.parse(text) as { key: string }
  return JSON.stringify({ ...document, key: OTHER_KEY })
}

const OTHER_KEY = (await nodeKeys.generate()).toPem().reveal()
