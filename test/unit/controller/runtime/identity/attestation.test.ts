/**
 * Attestation end to end without a network: who gets an SVID, who is refused, and what survives a crash.
 * Both programs' real decisions; only disk, time and transport are the test's.
 */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { csrBinding, reattestationPayload } from '../../../../../common/attestation.ts'
import { Secret } from '../../../../../common/secret.ts'
import { controllerSpiffeId } from '../../../../../common/spiffe-id.ts'
import { readPeer } from '../../../../../controller/core/ca/peer.ts'
import { nodeKeys } from '../../../../../sidecar/adapters/crypto/keys.ts'
import { parseIdentity } from '../../../../../sidecar/core/identity/stored-identity.ts'
import { makeCsr, makeKey, type TestKey } from '../../../../kit/identity.ts'
import {
  MemoryState,
  makeClient,
  makeController,
  makeSidecar,
  type TestController,
  WEB,
} from '../../../../kit/identity-controller.ts'

const INSTANCE = 'instance-0123456789'
const alone = { peer: undefined, isGone: () => false }
const tokenFor = async (controller: TestController, ttlSeconds?: number) =>
  (
    await controller.identity.createJoinToken({
      workload: 'shop/web',
      ...(ttlSeconds && { ttlSeconds }),
    })
  ).token

/** A join by hand, to ask for what the real sidecar never would. */
function joinRequest(token: Secret<string>, change: { uri?: string; binding?: string } = {}) {
  const csr = makeCsr(makeKey(), change.uri === undefined ? {} : { uri: change.uri })
  const challengePassword = change.binding ?? csrBinding(csr)
  const credentialCsr = makeCsr(makeKey(), { challengePassword })
  return { csr, instanceId: INSTANCE, proof: { kind: 'token' as const, token, credentialCsr } }
}

/** A proof by hand with what a state folder holds. */
function credentialRequest(
  controller: TestController,
  state: MemoryState,
  change: { nonce?: Uint8Array; uri?: string; by?: TestKey; csrSigned?: Uint8Array } = {},
) {
  const { joined } = parseIdentity(new Secret(state.text ?? ''))
  if (joined === undefined) throw new Error('not joined')
  const key = change.by ?? keyOf(joined.credentialKey)
  const csr = makeCsr(makeKey(), change.uri === undefined ? {} : { uri: change.uri })
  const nonce = change.nonce ?? controller.identity.attestation.challenge()
  const signature = key.sign(reattestationPayload(nonce, change.csrSigned ?? csr))
  const { credential: certificate } = joined
  return {
    csr,
    instanceId: INSTANCE,
    proof: { kind: 'credential' as const, certificate, nonce, signature },
  }
}

function keyOf(pem: Secret<string>): TestKey {
  const key = nodeKeys.fromPem(pem)
  return { privateKey: key.privateKey.reveal(), publicKey: key.publicKey, sign: (b) => key.sign(b) }
}

t.test('a join token buys an SVID and a credential; the credential buys the next', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  const first = await sidecar.attest()
  t.match(readPeer(first.certificateChain[0] ?? new Uint8Array()), {
    spiffeId: WEB.spiffeId,
    workloadUid: WEB.uid,
    notAfterMs: controller.clock.now() + 3_600_000,
  })
  controller.clock.advance(1_800_000)
  const second = await sidecar.attest(first)
  t.not(second.serialNumber, first.serialNumber)
  t.notSame(
    second.privateKey.reveal().export({ format: 'jwk' }),
    first.privateKey.reveal().export({ format: 'jwk' }),
    'a new key for each SVID',
  )
  for (let i = 0; i < 5; i++) await sidecar.attest(second)
  t.same(controller.revoked, [])
})

t.test('a restarted sidecar has no SVID and needs no new token', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  const before = makeSidecar(controller, { token })
  await before.attest()
  const after = makeSidecar(controller, { token, state: before.state })
  await after.attest()
  t.same(controller.revoked, [])
})

t.test('a restarted controller knows everything that it answered', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  const sidecar = makeSidecar(controller, { token })
  await sidecar.attest()
  const restarted = await makeController({ store: controller.store, clock: controller.clock })
  await makeSidecar(restarted, { state: sidecar.state }).attest()
  await t.rejects(restarted.identity.attestation.attest(joinRequest(token), alone), {
    code: 'ERR_TOKEN_USED',
  })
})

t.test('a token is good once, for its time, and for its WorkloadEntry only', async (t) => {
  const controller = await makeController()
  const { attestation } = controller.identity
  const used = await tokenFor(controller)
  await attestation.attest(joinRequest(used), alone)
  await t.rejects(attestation.attest(joinRequest(used), alone), { code: 'ERR_TOKEN_USED' })

  const late = await tokenFor(controller, 60)
  controller.clock.advance(60_000)
  await t.rejects(attestation.attest(joinRequest(late), alone), { code: 'ERR_TOKEN_EXPIRED' })

  const orphan = await tokenFor(controller)
  controller.workloads.splice(0, 1, { ...WEB, uid: 'uid-web-2' })
  await t.rejects(attestation.attest(joinRequest(orphan), alone), {
    code: 'ERR_TOKEN_INVALID',
    message: /deleted or made anew/,
  })
})

t.test(
  'an unknown, altered or foreign token is not known, whatever is wrong with it',
  async (t) => {
    const controller = await makeController()
    const other = await makeController()
    const { attestation } = controller.identity
    const text = (await tokenFor(controller)).reveal()
    const [prefix, id, secret = '', fingerprint] = text.split('.')
    const wrongSecret = [prefix, id, randomBytes(32).toString('base64url'), fingerprint].join('.')
    for (const token of [wrongSecret, (await tokenFor(other)).reveal()])
      await t.rejects(attestation.attest(joinRequest(new Secret(token)), alone), {
        code: 'ERR_TOKEN_INVALID',
        message: 'join token is not known',
      })
    for (const token of ['', 'x', `${text}.`, text.replace(secret, secret.slice(1))])
      await t.rejects(attestation.attest(joinRequest(new Secret(token)), alone), {
        code: 'ERR_TOKEN_INVALID',
      })
    t.notOk(
      controller.store.files?.get('identities.json')?.includes(secret),
      'only a hash is stored',
    )
  },
)

t.test('of two that use a token at the same time one gets it', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  const results = await Promise.allSettled(
    [1, 2, 3].map(() => controller.identity.attestation.attest(joinRequest(token), alone)),
  )
  t.equal(results.filter((r) => r.status === 'fulfilled').length, 1)
})

t.test('a crash between store and answer makes the token good for nobody else', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  const lost = makeClient(controller, {
    afterAttest: () => {
      throw new Error('the answer is lost')
    },
  })
  const sidecar = makeSidecar(controller, { token, client: lost })
  await t.rejects(sidecar.attest(), /lost/)
  const restarted = await makeController({ store: controller.store, clock: controller.clock })
  await t.rejects(restarted.identity.attestation.attest(joinRequest(token), alone), {
    code: 'ERR_TOKEN_USED',
  })
  // The same sidecar, with the key that the token was spent on, may ask again: it is the same use.
  const again = makeSidecar(restarted, { token, state: sidecar.state })
  await again.attest()
  // But not once its credential was used.
  await again.attest()
  await t.rejects(restarted.identity.attestation.attest(joinRequest(token), alone), {
    code: 'ERR_TOKEN_USED',
  })
})

t.test('a crash before store leaves the token good', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  controller.store.failWrites = true
  await t.rejects(controller.identity.attestation.attest(joinRequest(token), alone), {
    code: 'ERR_STATE_WRITE',
  })
  controller.store.failWrites = false
  const restarted = await makeController({ store: controller.store, clock: controller.clock })
  await restarted.identity.attestation.attest(joinRequest(token), alone)
})

t.test('nothing is answered before it is stored', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  const order: string[] = []
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const isWriting = new Promise<void>((resolve) => {
    controller.store.beforeWrite = () => {
      resolve()
      return held.then(() => void order.push('stored'))
    }
  })
  const answer = controller.identity.attestation
    .attest(joinRequest(token), alone)
    .then(() => order.push('answered'))
  await isWriting
  t.same(order, [])
  release()
  await answer
  t.same(order, ['stored', 'answered'])
})

t.test('a captured credential request is no use with another SVID key', async (t) => {
  const controller = await makeController()
  const { attestation } = controller.identity
  const token = await tokenFor(controller)
  const first = joinRequest(token)
  await attestation.attest(first, alone)
  const stolen = { ...first, csr: makeCsr(makeKey()) }
  await t.rejects(attestation.attest(stolen, alone), { code: 'ERR_CSR_INVALID', message: /bound/ })
})

t.test('another identity than the own is refused, and the token stays good', async (t) => {
  const controller = await makeController()
  const { attestation } = controller.identity
  const token = await tokenFor(controller)
  for (const uri of [
    'spiffe://shop.example/ns/shop/sa/orders',
    'spiffe://other.example/ns/shop/sa/web',
    controllerSpiffeId('shop.example'),
  ])
    await t.rejects(attestation.attest(joinRequest(token, { uri }), alone), {
      code: 'ERR_PEER_FORBIDDEN',
    })
  await attestation.attest(joinRequest(token, { uri: WEB.spiffeId }), alone)
})

t.test('the identity of the controller is issued to nobody', async (t) => {
  const reserved = { ...WEB, spiffeId: controllerSpiffeId('shop.example') }
  const controller = await makeController({ workloads: [reserved] })
  const token = await tokenFor(controller)
  await t.rejects(controller.identity.attestation.attest(joinRequest(token), alone), {
    code: 'ERR_PEER_FORBIDDEN',
    message: /controller/,
  })
  const byUid = await makeController({ workloads: [{ ...WEB, uid: 'controller' }] })
  const token2 = await tokenFor(byUid)
  await t.rejects(byUid.identity.attestation.attest(joinRequest(token2), alone), {
    code: 'ERR_PEER_FORBIDDEN',
  })
})

t.test('credential and SVID have keys of their own', async (t) => {
  const controller = await makeController()
  const key = makeKey()
  const csr = makeCsr(key)
  const credentialCsr = makeCsr(key, { challengePassword: csrBinding(csr) })
  const token = await tokenFor(controller)
  const proof = { kind: 'token' as const, token, credentialCsr }
  await t.rejects(
    controller.identity.attestation.attest({ csr, instanceId: INSTANCE, proof }, alone),
    { code: 'ERR_CSR_INVALID' },
  )
})

t.test('an older credential revokes the whole chain, until a new token', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  const svid = await sidecar.attest()
  const thief = makeSidecar(controller, { state: copyOf(sidecar.state) })
  await sidecar.attest(svid)
  await sidecar.attest(svid)
  await t.rejects(thief.attest(), { code: 'ERR_CREDENTIAL_REVOKED', message: /older copy/ })
  t.match(controller.revoked, [{ workload: 'shop/web', workloadUid: 'uid-web', reason: /older/ }])
  await t.rejects(sidecar.attest(svid), { code: 'ERR_CREDENTIAL_REVOKED' })
  t.match(controller.identity.revocations(), [{ workload: 'shop/web' }])

  const restarted = await makeController({ store: controller.store, clock: controller.clock })
  await t.rejects(makeSidecar(restarted, { state: sidecar.state }).attest(), {
    code: 'ERR_CREDENTIAL_REVOKED',
  })
  const token = await tokenFor(restarted)
  const rejoined = makeSidecar(restarted, { state: sidecar.state, token })
  await rejoined.attest()
  await rejoined.attest()
  t.same(restarted.identity.revocations(), [])
  await t.rejects(thief.attest(), { code: 'ERR_CREDENTIAL_REVOKED' })
  await rejoined.attest()
  t.equal(controller.revoked.length, 1, 'the old key does not revoke the new chain')
})

t.test('a revocation is on the disk before anybody hears of it by an answer', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  await sidecar.attest()
  const thief = makeSidecar(controller, { state: copyOf(sidecar.state) })
  await sidecar.attest()
  await sidecar.attest()
  const order: string[] = []
  controller.store.beforeWrite = async () => {
    await new Promise((resolve) => setImmediate(resolve))
    order.push('stored')
  }
  await thief.attest().catch((error) => order.push(error.code))
  t.same(order, ['stored', 'ERR_CREDENTIAL_REVOKED'])
})

t.test('a thief that is first is found out when the owner comes', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  await sidecar.attest()
  const thief = makeSidecar(controller, { state: copyOf(sidecar.state) })
  await thief.attest()
  await thief.attest()
  await t.rejects(sidecar.attest(), { code: 'ERR_CREDENTIAL_REVOKED' })
  await t.rejects(thief.attest(), { code: 'ERR_CREDENTIAL_REVOKED' })
})

t.test('a use while another process is live revokes', async (t) => {
  const live = new Set(['instance-owner-0001'])
  const controller = await makeController({
    isLive: async (_, except) => [...live].some((id) => id !== except),
  })
  const token = await tokenFor(controller)
  const owner = makeSidecar(controller, { token, instanceId: 'instance-owner-0001' })
  const svid = await owner.attest()
  await owner.attest(svid)
  t.same(controller.revoked, [], 'its own renewal is none')
  const second = makeSidecar(controller, { state: copyOf(owner.state) })
  await t.rejects(second.attest(), { code: 'ERR_CREDENTIAL_REVOKED', message: /second process/ })
  t.equal(controller.revoked.length, 1)
})

t.test('a lost answer costs nothing: the credential before it is still good', async (t) => {
  const controller = await makeController()
  const token = await tokenFor(controller)
  const sidecar = makeSidecar(controller, { token })
  await sidecar.attest()
  let isLost = true
  const client = makeClient(controller, {
    afterAttest: () => {
      if (isLost) throw new Error('lost')
    },
  })
  const unlucky = makeSidecar(controller, { state: sidecar.state, client })
  await t.rejects(unlucky.attest(), /lost/)
  await t.rejects(unlucky.attest(), /lost/)
  isLost = false
  await unlucky.attest()
  await unlucky.attest()
  t.same(controller.revoked, [])
})

t.test('a sidecar that cannot store lives on with the credential of its disk', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  const first = await sidecar.attest()
  const onDisk = sidecar.state.text
  sidecar.state.failWrites = true
  const serials = new Set([first.serialNumber])
  for (let i = 0; i < 3; i++) serials.add((await sidecar.attest()).serialNumber)
  t.equal(serials.size, 4, 'each renewal counts')
  t.match(sidecar.attester.storeProblem(), { code: 'ERR_STATE_WRITE' })
  t.equal(sidecar.state.text, onDisk)
  sidecar.state.failWrites = false
  const restarted = makeSidecar(controller, { state: sidecar.state })
  await restarted.attest()
  t.same(controller.revoked, [], 'a restart finds a credential that is good')
})

t.test('what could not be stored is stored later, and is the newest', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  await sidecar.attest()
  sidecar.state.failWrites = true
  await sidecar.attest()
  await sidecar.attest()
  sidecar.state.failWrites = false
  await sidecar.attester.storeAgain()
  t.equal(sidecar.attester.storeProblem(), undefined)
  await sidecar.attest()
  await makeSidecar(controller, { state: sidecar.state }).attest()
  t.same(controller.revoked, [])
})

t.test('a damaged identity is set aside when there is a token to begin anew with', async (t) => {
  const controller = await makeController()
  const state = new MemoryState()
  await makeSidecar(controller, { state, token: await tokenFor(controller) }).attest()
  state.text = state.text?.replace(/"uid": "uid-web"/, '"uid": "uid-wec"')
  await t.rejects(makeSidecar(controller, { state }).attest(), { code: 'ERR_STATE_CORRUPT' })
  const token = await tokenFor(controller)
  t.equal((await makeSidecar(controller, { state, token }).attest()).workload.uid, 'uid-web')
})

t.test('a caller that has gone leaves no trace', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  await sidecar.attest()
  const stored = controller.store.files?.get('identities.json')
  const client = makeClient(controller, { isGone: () => true })
  await t.rejects(makeSidecar(controller, { state: sidecar.state, client }).attest(), {
    code: 'ERR_CA_NOT_READY',
  })
  t.equal(controller.store.files?.get('identities.json'), stored)
})

t.test('a proof is good once, for its nonce, its request and its key', async (t) => {
  const controller = await makeController()
  const { attestation } = controller.identity
  const { state, attest } = makeSidecar(controller, { token: await tokenFor(controller) })
  await attest()
  const good = credentialRequest(controller, state)
  await attestation.attest(good, alone)
  await t.rejects(attestation.attest(good, alone), { code: 'ERR_NONCE_INVALID' }, 'replayed')
  const refused = async (change: Parameters<typeof credentialRequest>[2], code: string) =>
    t.rejects(
      attestation.attest(credentialRequest(controller, state, change), alone),
      { code },
      code,
    )
  await refused({ nonce: randomBytes(32) }, 'ERR_NONCE_INVALID')
  await refused({ nonce: new Uint8Array() }, 'ERR_NONCE_INVALID')
  await refused({ by: makeKey() }, 'ERR_CREDENTIAL_INVALID')
  await refused({ csrSigned: makeCsr(makeKey()) }, 'ERR_CREDENTIAL_INVALID')
  await refused({ uri: 'spiffe://shop.example/ns/shop/sa/orders' }, 'ERR_PEER_FORBIDDEN')
  const nonce = attestation.challenge()
  controller.clock.advance(60_001)
  await refused({ nonce }, 'ERR_NONCE_INVALID')
  t.same(controller.revoked, [], 'nobody without the key revokes anything')
})

t.test('a credential that is no credential of this CA is refused', async (t) => {
  const controller = await makeController()
  const other = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  const svid = await sidecar.attest()
  const foreign = makeSidecar(other, { token: await tokenFor(other) })
  await foreign.attest()
  const { attestation } = controller.identity
  const certificates: Record<string, Uint8Array> = {
    'an SVID': svid.certificateChain[0] ?? new Uint8Array(),
    'the root': svid.trustBundle[0] ?? new Uint8Array(),
    'another CA’s':
      parseIdentity(new Secret(foreign.state.text ?? '')).joined?.credential ?? new Uint8Array(),
    nothing: new Uint8Array(),
    noise: randomBytes(500),
  }
  for (const [name, certificate] of Object.entries(certificates)) {
    const request = credentialRequest(controller, sidecar.state)
    const proof = { ...request.proof, certificate }
    await t.rejects(
      attestation.attest({ ...request, proof }, alone),
      { code: 'ERR_CREDENTIAL_INVALID' },
      name,
    )
  }
  const good = credentialRequest(controller, sidecar.state)
  for (let i = 0; i < good.proof.certificate.length; i += 3) {
    const certificate = Uint8Array.from(good.proof.certificate)
    certificate[i] = (certificate[i] ?? 0) ^ 0x10
    const proof = { ...good.proof, certificate }
    await t.rejects(attestation.attest({ ...good, proof }, alone), {
      code: 'ERR_CREDENTIAL_INVALID',
    })
  }
})

t.test('a client certificate of another workload is refused', async (t) => {
  const orders = {
    ...WEB,
    name: 'orders',
    uid: 'uid-orders',
    spiffeId: 'spiffe://shop.example/ns/shop/sa/orders',
  }
  const controller = await makeController({ workloads: [WEB, orders] })
  const web = makeSidecar(controller, { token: await tokenFor(controller) })
  await web.attest()
  const { token } = await controller.identity.createJoinToken({ workload: 'shop/orders' })
  const svid = await makeSidecar(controller, { token }).attest()
  const peer = readPeer(svid.certificateChain[0] ?? new Uint8Array())
  const { attestation } = controller.identity
  const caller = { peer, isGone: () => false }
  await t.rejects(attestation.attest(credentialRequest(controller, web.state), caller), {
    code: 'ERR_PEER_FORBIDDEN',
  })
  await t.rejects(attestation.attest(joinRequest(await tokenFor(controller)), caller), {
    code: 'ERR_PEER_FORBIDDEN',
  })
  t.same(controller.revoked, [])
})

t.test('a deleted workload is refused and its credential revoked', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  const svid = await sidecar.attest()
  controller.workloads.splice(0, 1)
  await t.rejects(sidecar.attest(svid), { code: 'ERR_CREDENTIAL_REVOKED', message: /deleted/ })
  controller.workloads.push(WEB)
  await t.rejects(sidecar.attest(svid), { code: 'ERR_CREDENTIAL_REVOKED' })
})

t.test('without a model nothing is issued and nothing revoked', async (t) => {
  const controller = await makeController()
  const sidecar = makeSidecar(controller, { token: await tokenFor(controller) })
  await sidecar.attest()
  controller.model.settings = undefined
  await t.rejects(sidecar.attest(), { code: 'ERR_CA_NOT_READY' })
  t.same(controller.revoked, [])
})

t.test('instance ids are bounded', async (t) => {
  const controller = await makeController()
  const request = joinRequest(await tokenFor(controller))
  for (const instanceId of ['', 'short', 'x'.repeat(65), `${'x'.repeat(20)}\n`])
    await t.rejects(controller.identity.attestation.attest({ ...request, instanceId }, alone), {
      code: 'ERR_CSR_INVALID',
    })
})

function copyOf(state: MemoryState): MemoryState {
  const copy = new MemoryState()
  copy.text = state.text
  return copy
}
