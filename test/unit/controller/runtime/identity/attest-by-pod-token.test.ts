/** A pod's token as proof: every way in which token, pod, request and place may disagree. */
import t from 'tap'
import { Secret } from '../../../../../common/secret.ts'
import { readPeer } from '../../../../../controller/core/ca/peer.ts'
import type { CallerPeer } from '../../../../../controller/runtime/identity/claim.ts'
import type { TokenOwner } from '../../../../../controller/runtime/identity/ports.ts'
import { makeCsr, makeKey } from '../../../../kit/identity.ts'
import { makeController, WEB } from '../../../../kit/identity-controller.ts'
import { waitFor } from '../../../../kit/wait.ts'

const OWNER: TokenOwner = {
  namespace: 'shop',
  serviceAccount: 'web',
  podName: 'web',
  podUid: WEB.uid,
  nodeName: 'node-1',
}
const HERE = '10.1.0.9'

interface World {
  readonly owner?: TokenOwner | 'unanswered' | undefined
  readonly addresses?: readonly string[]
  readonly isTerminating?: boolean
  readonly isGone?: boolean
  readonly nodeName?: string
}

const isPodAddress = (address: string) => [HERE, '10.1.0.8'].includes(address)

async function makeWorld(world: World = {}) {
  const owner = 'owner' in world ? world.owner : OWNER
  const { addresses = [HERE], isTerminating = false, isGone = false } = world
  const { nodeName = 'node-1' } = world
  return makeController({
    pods: {
      review: async () => owner,
      podOf: () => (isGone ? undefined : { addresses, isTerminating, nodeName }),
      isPodAddress,
    },
  })
}

function ask(uri: string | undefined = WEB.spiffeId) {
  const csr = makeCsr(makeKey(), uri === '' ? {} : { uri })
  const proof = { kind: 'pod' as const, token: new Secret('t') }
  return { csr, instanceId: 'a'.repeat(32), proof }
}

const caller = { peer: undefined, isGone: () => false, address: HERE }

t.test('the pod itself', async (t) => {
  const { identity } = await makeWorld()
  const { workload, svid, credential } = await identity.attestation.attest(ask(), caller)
  t.equal(workload, WEB)
  t.ok(svid.der.length > 0)
  t.equal(credential, undefined, 'its token is its credential')
  t.notOk(identity.attestation.isPlausible(ask()), 'a flood is never let through to the API server')
})

t.test('everybody else', async (t) => {
  const cases: readonly (readonly [
    string,
    World,
    Partial<typeof caller>,
    string | undefined,
    string,
  ])[] = [
    ['a token that is nobody’s', { owner: undefined }, {}, undefined, 'ERR_TOKEN_INVALID'],
    ['an unknown pod', { owner: { ...OWNER, podUid: 'u' } }, {}, undefined, 'ERR_CA_NOT_READY'],
    ['a pod that is gone', { isGone: true }, {}, undefined, 'ERR_CA_NOT_READY'],
    [
      'a pod of another name',
      { owner: { ...OWNER, podName: 'x' } },
      {},
      undefined,
      'ERR_PEER_FORBIDDEN',
    ],
    [
      'another account',
      { owner: { ...OWNER, serviceAccount: 'x' } },
      {},
      undefined,
      'ERR_PEER_FORBIDDEN',
    ],
    [
      'another namespace',
      { owner: { ...OWNER, namespace: 'x' } },
      {},
      undefined,
      'ERR_PEER_FORBIDDEN',
    ],
    ['a pod about to end', { isTerminating: true }, {}, undefined, 'ERR_PEER_FORBIDDEN'],
    ['of another node', { nodeName: 'node-2' }, {}, undefined, 'ERR_PEER_FORBIDDEN'],
    ['of no node', { nodeName: '' }, {}, undefined, 'ERR_PEER_FORBIDDEN'],
    ['from no pod', {}, { address: '10.9.9.9' }, undefined, 'ERR_CA_NOT_READY'],
    ['from elsewhere', {}, { address: '10.1.0.8' }, undefined, 'ERR_PEER_FORBIDDEN'],
    ['before it has an address', { addresses: [] }, {}, undefined, 'ERR_CA_NOT_READY'],
    ['asking for nothing', {}, {}, '', 'ERR_PEER_FORBIDDEN'],
    ['asking for another', {}, {}, `${WEB.spiffeId}x`, 'ERR_PEER_FORBIDDEN'],
    ['who has left', {}, { isGone: () => true }, undefined, 'ERR_CA_NOT_READY'],
  ]
  for (const [name, world, from, uri, code] of cases) {
    const { identity } = await makeWorld(world)
    await t.rejects(identity.attestation.attest(ask(uri), { ...caller, ...from }), { code }, name)
  }
  const { identity } = await makeWorld()
  const peer = { workloadUid: 'uid-orders' }
  await t.rejects(identity.attestation.attest(ask(), { ...caller, peer }), {
    code: 'ERR_PEER_FORBIDDEN',
  })
  const { address: _, ...nowhere } = caller
  await t.rejects(identity.attestation.attest(ask(), nowhere), { code: 'ERR_CA_NOT_READY' })
  const alone = await makeController()
  await t.rejects(alone.identity.attestation.attest(ask(), caller), { code: 'ERR_TOKEN_INVALID' })
})

t.test('a join token is for those that have no token of their own', async (t) => {
  const { identity } = await makeWorld()
  await t.rejects(identity.createJoinToken({ workload: 'shop/web' }), {
    code: 'ERR_WORKLOAD_NOT_FOUND',
  })
})

t.test(
  'while the API server is away: one SVID more for the SVID, of a pod known alive',
  async (t) => {
    const uid = WEB.uid
    const shown = { workloadUid: uid, spiffeId: WEB.spiffeId, isProvisional: false }
    const away = { owner: 'unanswered' } as const
    const { identity } = await makeWorld(away)
    const first = await identity.attestation.attest(ask(), { ...caller, peer: shown })
    t.equal(first.by, 'svid')
    const got = readPeer(first.svid.der)
    t.match(got, { ...shown, isProvisional: true })
    await t.rejects(
      identity.attestation.attest(ask(), { ...caller, peer: got }),
      { code: 'ERR_CA_NOT_READY' },
      'it buys no other',
    )
    const back = await makeWorld()
    const again = await back.identity.attestation.attest(ask(), caller)
    t.match(readPeer(again.svid.der), { isProvisional: false }, 'a token begins anew')
    const cases: readonly (readonly [string, World, Parameters<typeof attestAs>[1], string])[] = [
      ['without an SVID', {}, {}, 'ERR_CA_NOT_READY'],
      ['an SVID that says too little', {}, { peer: { workloadUid: uid } }, 'ERR_CA_NOT_READY'],
      ['of nobody known', {}, { peer: { ...shown, workloadUid: 'u' } }, 'ERR_CA_NOT_READY'],
      ['of no pod', { isGone: true }, { peer: shown }, 'ERR_CA_NOT_READY'],
      ['of another account', {}, { peer: { ...shown, spiffeId: 'x' } }, 'ERR_PEER_FORBIDDEN'],
      ['of a pod about to end', { isTerminating: true }, { peer: shown }, 'ERR_PEER_FORBIDDEN'],
      ['from elsewhere', {}, { peer: shown, address: '10.1.0.8' }, 'ERR_PEER_FORBIDDEN'],
    ]
    for (const [name, world, from, code] of cases)
      await t.rejects(attestAs({ ...away, ...world }, from), { code }, name)
  },
)

async function attestAs(world: World, from: { peer?: CallerPeer; address?: string }) {
  const { identity } = await makeWorld(world)
  return identity.attestation.attest(ask(), { ...caller, ...from })
}

t.test('one address has one question at a time to the API server', async (t) => {
  const open: (() => void)[] = []
  let asked = 0
  const { identity } = await makeController({
    pods: {
      review: async () => {
        asked += 1
        await new Promise<void>((resolve) => open.push(resolve))
        return undefined
      },
      podOf: () => undefined,
      isPodAddress,
    },
  })
  const stranger = { ...caller, address: '10.9.9.9' }
  await t.rejects(identity.attestation.attest(ask(), stranger), { code: 'ERR_CA_NOT_READY' })
  t.equal(asked, 0, 'of who is at no pod’s address, nothing is asked')
  const all = [1, 2, 3].map(() => identity.attestation.attest(ask(), caller).catch(() => {}))
  const elsewhere = { ...caller, address: '10.1.0.8' }
  const other = identity.attestation.attest(ask(), elsewhere).catch(() => {})
  await waitFor(() => asked >= 2, { what: 'questions' })
  t.equal(asked, 2, 'and another address is not kept waiting by it')
  while (asked < 4 || open.length > 0) {
    open.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all([...all, other])
})
