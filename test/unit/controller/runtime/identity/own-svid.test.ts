/** The controller's own certificate, its join tokens' bounds, and its records' writes. */
import { randomBytes, X509Certificate } from 'node:crypto'
import t from 'tap'
import { parseJoinToken } from '../../../../../common/attestation.ts'
import { controllerSpiffeId } from '../../../../../common/spiffe-id.ts'
import { nodeKeys } from '../../../../../controller/adapters/crypto/keys.ts'
import { openAuthority } from '../../../../../controller/runtime/identity/authority.ts'
import { createKeyedLock } from '../../../../../controller/runtime/identity/keyed-lock.ts'
import { openRecords } from '../../../../../controller/runtime/identity/records.ts'
import { MemoryStore, makeController } from '../../../../kit/identity-controller.ts'

t.test('serves the reserved id with its root, and renews at half-life', async (t) => {
  const { identity, clock } = await makeController({ svidLifetimeSeconds: 20 })
  const first = identity.own.current()
  const [leaf = '', root = ''] = first.certificateChainPem.split(/(?<=END CERTIFICATE-----\n)/)
  t.equal(new X509Certificate(leaf).subjectAltName, `URI:${controllerSpiffeId('shop.example')}`)
  t.equal(root, first.trustBundlePem)
  t.equal(first.notAfterMs, clock.now() + 20_000)
  const renewed = new Promise((resolve) => identity.own.onRenewed(resolve))
  clock.advance(13_000)
  // The look is once a second by the real clock; only what it finds is faked.
  const keepAlive = setTimeout(() => {}, 5_000)
  t.match(await renewed, { notAfterMs: clock.now() + 20_000 })
  clearTimeout(keepAlive)
  t.not(identity.own.current().serialNumber, first.serialNumber)
  identity.stop()
})

t.test('does not start, nor sign, with a root that has ended', async (t) => {
  const { store, clock } = await makeController()
  clock.advance(315_360_000_000)
  await t.rejects(makeController({ store, clock }), { code: 'ERR_CA_NOT_READY' })
})

t.test('a lost root is said, never replaced; what is there is left alone', async (t) => {
  const first = await makeController()
  const { rootFingerprint } = first.identity.authority
  const again = await makeController({ store: first.store })
  t.same(again.identity.authority.rootFingerprint, rootFingerprint)
  const parts = { store: new MemoryStore(), keys: nodeKeys, clock: first.clock, randomBytes }
  await t.rejects(openAuthority({ trustDomain: 'shop.example', ...parts }), {
    code: 'ERR_STATE_CORRUPT',
    message:
      /restore the ca folder from a backup, or remove the whole state directory .* join again/,
  })
  t.equal(parts.store.files, undefined)
})

t.test(
  'join tokens: known workloads, bounded lifetimes, the fingerprint of the root',
  async (t) => {
    const { identity, clock } = await makeController()
    const { token, expiresMs } = await identity.createJoinToken({ workload: 'shop/web' })
    t.equal(expiresMs, clock.now() + 600_000)
    t.same(parseJoinToken(token.reveal())?.rootFingerprint, identity.authority.rootFingerprint)
    await t.rejects(identity.createJoinToken({ workload: 'shop/nobody' }), {
      code: 'ERR_WORKLOAD_NOT_FOUND',
      message: /shop\/nobody/,
    })
    for (const ttlSeconds of [0, -1, 1.5, 86_401, Number.NaN])
      await t.rejects(identity.createJoinToken({ workload: 'shop/web', ttlSeconds }), {
        code: 'ERR_CONFIG',
      })
  },
)

t.test('a token is not told before it is stored', async (t) => {
  const { identity, store } = await makeController()
  store.failWrites = true
  await t.rejects(identity.createJoinToken({ workload: 'shop/web' }), { code: 'ERR_STATE_WRITE' })
})

t.test('changes that wait are written together, each after it was made', async (t) => {
  const { store } = await makeController()
  const records = await openRecords(store)
  const before = store.writes
  const commits = Array.from({ length: 20 }, () => records.commit((registry) => registry))
  await Promise.all(commits)
  t.ok(store.writes - before <= 2)
  store.failWrites = true
  await t.rejects(records.commit((registry) => registry))
  store.failWrites = false
  await records.commit((registry) => registry)
})

t.test('a state of another trust domain is refused', async (t) => {
  const { store } = await makeController()
  const root = store.files?.get('root.pem') ?? ''
  store.files?.set('root.pem', store.files.get('attestation.pem') ?? '')
  await t.rejects(makeController({ store }), { code: 'ERR_STATE_CORRUPT', message: /trust domain/ })
  const { store: other } = await makeController()
  const [certificate = ''] = root.split(/(?<=END CERTIFICATE-----\n)/)
  const [, key = ''] = (other.files?.get('root.pem') ?? '').split(/(?<=END CERTIFICATE-----\n)/)
  store.files?.set('root.pem', certificate + key)
  await t.rejects(makeController({ store }), { code: 'ERR_STATE_CORRUPT', message: /not its/ })
})

t.test('the lock keeps the order, goes on after a failure, and forgets', async (t) => {
  const locked = createKeyedLock()
  const order: number[] = []
  const work = (n: number, fail = false) =>
    locked('a', async () => {
      await new Promise((resolve) => setImmediate(resolve))
      order.push(n)
      if (fail) throw new Error('no')
    })
  await Promise.allSettled([
    work(1),
    work(2, true),
    work(3),
    locked('b', async () => order.push(0)),
  ])
  t.same(order, [0, 1, 2, 3])
})
