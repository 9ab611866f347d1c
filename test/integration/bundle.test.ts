import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { Secret } from '../../common/secret.ts'
import { BundleServer } from '../../controller/adapters/http/bundle-server.ts'
import { BundleDesk } from '../../controller/runtime/bundle-desk.ts'
import { FileBundleStore } from '../../sidecar/adapters/fs/bundle-store.ts'
import { BundleClient } from '../../sidecar/adapters/http/bundle-client.ts'
import type { IdentitySource, Svid } from '../../sidecar/ports.ts'
import { type BundleLoop, startBundleLoop } from '../../sidecar/runtime/bundle-loop.ts'
import { type CheckHarness, makeBundle, makePolicy, makeSet, startCheck } from '../kit/check.ts'
import { makeCa, makeSvid, type TestCa, toPem } from '../kit/identity.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

const UID = 'uid-orders'
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

/** A source whose SVID a test can renew. */
class TestIdentity implements IdentitySource {
  #svid: Svid | undefined
  readonly #listeners = new Set<(svid: Svid) => void>()

  current(): Svid | undefined {
    return this.#svid
  }

  subscribe(listener: (svid: Svid) => void): () => void {
    this.#listeners.add(listener)
    if (this.#svid !== undefined) listener(this.#svid)
    return () => this.#listeners.delete(listener)
  }

  async renew(ca: TestCa, roots: readonly Uint8Array[] = [ca.root.der]): Promise<Svid> {
    const made = await makeSvid(ca, { serviceAccount: 'orders', workloadUid: UID })
    const svid: Svid = {
      spiffeId: `spiffe://${ca.trustDomain}/ns/shop/sa/orders`,
      workload: { namespace: 'shop', name: 'orders', uid: UID },
      certificateChain: [made.der],
      privateKey: new Secret(made.key.privateKey),
      trustBundle: roots,
      serialNumber: Buffer.from(made.template.serialNumber).toString('hex'),
      notBeforeMs: 0,
      notAfterMs: Date.now() + 3_600_000,
    }
    this.#svid = svid
    for (const listener of this.#listeners) listener(svid)
    return svid
  }
}

interface Controller {
  readonly target: string
  readonly bundles: BundleDesk
  /** Serial numbers of the client certificates that asked. */
  readonly serials: string[]
  close(): Promise<void>
}

/** The controller's bundle API behind TLS, with this identity. */
async function serve(
  ca: TestCa,
  as: { namespace?: string; serviceAccount?: string; port?: number } = {},
): Promise<Controller> {
  const { namespace = 'postern-system', serviceAccount = 'postern-controller', port = 0 } = as
  const own = await makeSvid(ca, { namespace, serviceAccount })
  const serials: string[] = []
  const bundles = new BundleDesk({
    workloadOf: () => ({ spiffeId: `spiffe://${ca.trustDomain}/ns/shop/sa/orders` }),
  })
  const { onRequest } = new BundleServer({
    peerOf: (socket) => {
      const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
      if (certificate === undefined) return undefined
      serials.push(certificate.serialNumber.toLowerCase())
      const spiffeId = /URI:(\S+)/.exec(certificate.subjectAltName ?? '')?.[1] ?? ''
      return { spiffeId, workloadUid: UID }
    },
    desk: bundles,
    log: SILENT as never,
  })
  const server: Server = createServer(
    {
      cert: toPem(own.der),
      key: own.key.privateKey.export({ format: 'pem', type: 'pkcs8' }),
      ca: toPem(ca.root.der),
      requestCert: true,
      ALPNProtocols: ['http/1.1'],
    },
    onRequest,
  )
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    target: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    bundles,
    serials,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function bundleOf(name: string, workload = 'shop/orders') {
  const set = makeSet([makePolicy({ name, rules: [] })], { workload, trustDomain: 'shop.example' })
  const { revision, archive } = await makeBundle(set)
  return { workloadUid: UID, workload: 'shop/orders', revision, archive, pack: async () => archive }
}

interface World {
  readonly ca: TestCa
  readonly identity: TestIdentity
  readonly check: CheckHarness
  readonly state: string
  /** Starts the loop against a target; it ends with the test. */
  loop(target: string): Promise<BundleLoop>
  /** Resolves when the worker answers from this revision. */
  active(revision: string): Promise<unknown>
}

async function makeWorld(t: Test): Promise<World> {
  const ca = await makeCa()
  const identity = new TestIdentity()
  await identity.renew(ca)
  const check = await startCheck()
  t.teardown(() => check.stop())
  const state = tempDir(t)
  return {
    ca,
    identity,
    check,
    state,
    loop: async (target) => {
      const source = new BundleClient({ target, identity })
      const loop = await startBundleLoop({
        source,
        store: new FileBundleStore(state),
        worker: check.worker,
        workload: 'shop/orders',
        log: SILENT,
        random: () => 0,
      })
      t.teardown(async () => {
        await loop.stop()
        source.close()
      })
      return loop
    },
    active: (revision) => waitFor(() => check.worker.activeRevision() === revision),
  }
}

t.test('takes the newest bundle, follows changes, and stores what is active', async (t) => {
  const world = await makeWorld(t)
  const controller = await serve(world.ca)
  t.teardown(() => controller.close())
  const [first, second] = [await bundleOf('first'), await bundleOf('second')]
  controller.bundles.publish([first])
  const loop = await world.loop(controller.target)
  await world.active(first.revision)
  t.equal(loop.problem(), undefined)

  const published = performance.now()
  controller.bundles.publish([second])
  await world.active(second.revision)
  t.ok(performance.now() - published < 1000, 'a change is there at once, by long poll')
  const stored = join(world.state, 'policy-bundle.tar.gz')
  await waitFor(() => readFileSync(stored).equals(second.archive))
})

t.test('a stored bundle answers at once, without any controller', async (t) => {
  const world = await makeWorld(t)
  const bundle = await bundleOf('stored')
  await new FileBundleStore(world.state).save(bundle.archive)
  await world.loop('127.0.0.1:1')
  t.equal(world.check.worker.activeRevision(), bundle.revision)
})

t.test('a controller that goes away changes nothing, and is found again', async (t) => {
  const world = await makeWorld(t)
  const controller = await serve(world.ca)
  const [first, second] = [await bundleOf('first'), await bundleOf('second')]
  controller.bundles.publish([first])
  const loop = await world.loop(controller.target)
  await world.active(first.revision)
  await controller.close()
  await waitFor(() => loop.problem())
  t.match(loop.problem(), /ERR_CONTROLLER_UNAVAILABLE/)
  t.equal(world.check.worker.activeRevision(), first.revision)
  const port = Number(controller.target.split(':')[1])
  const again = await serve(world.ca, { port })
  t.teardown(() => again.close())
  again.bundles.publish([second])
  await world.active(second.revision)
})

t.test(
  'a bundle that does not hold is refused; the last good one stays, on disk too',
  async (t) => {
    const world = await makeWorld(t)
    const controller = await serve(world.ca)
    t.teardown(() => controller.close())
    const good = await bundleOf('good')
    controller.bundles.publish([good])
    const loop = await world.loop(controller.target)
    await world.active(good.revision)
    const other = await bundleOf('other')
    const bad: [string, RegExp][] = [
      ['cut', /gzip/],
      ['of another workload', /shop\/web/],
    ]
    for (const [name, message] of bad) {
      const archive =
        name === 'cut' ? other.archive.subarray(0, 100) : (await bundleOf('x', 'shop/web')).archive
      controller.bundles.publish([{ ...other, revision: name, pack: async () => archive }])
      await waitFor(() => message.test(loop.problem() ?? ''))
      t.match(loop.problem(), /ERR_BUNDLE_INVALID/, name)
      t.equal(world.check.worker.activeRevision(), good.revision)
    }
    t.ok(readFileSync(join(world.state, 'policy-bundle.tar.gz')).equals(Buffer.from(good.archive)))
    controller.bundles.publish([other])
    await world.active(other.revision)
    t.equal(loop.problem(), undefined)
  },
)

t.test('a stored bundle that was damaged is not used', async (t) => {
  const world = await makeWorld(t)
  const { archive } = await bundleOf('stored')
  const damaged = Buffer.from(archive)
  damaged.writeUInt8((damaged[40] ?? 0) ^ 1, 40)
  writeFileSync(join(world.state, 'policy-bundle.tar.gz'), damaged)
  const loop = await world.loop('127.0.0.1:1')
  t.equal(world.check.worker.activeRevision(), undefined)
  t.ok(loop.problem())
})

t.test("a workload's valid SVID can not pose as the controller", async (t) => {
  const world = await makeWorld(t)
  const imposter = await serve(world.ca, { namespace: 'shop', serviceAccount: 'web' })
  t.teardown(() => imposter.close())
  imposter.bundles.publish([await bundleOf('evil')])
  const loop = await world.loop(imposter.target)
  await waitFor(() => loop.problem())
  t.match(loop.problem(), /ERR_CONTROLLER_UNTRUSTED/)
  t.same(imposter.serials, [], 'it was asked nothing')
  t.equal(world.check.worker.activeRevision(), undefined)
})

t.test('a controller of another CA is not spoken to', async (t) => {
  const world = await makeWorld(t)
  const foreign = await makeCa()
  const imposter = await serve(foreign)
  t.teardown(() => imposter.close())
  imposter.bundles.publish([await bundleOf('evil')])
  const loop = await world.loop(imposter.target)
  await waitFor(() => loop.problem())
  t.same(imposter.serials, [])
  t.equal(world.check.worker.activeRevision(), undefined)
})

t.test('a renewed SVID is used at once', async (t) => {
  const world = await makeWorld(t)
  const controller = await serve(world.ca)
  t.teardown(() => controller.close())
  controller.bundles.publish([await bundleOf('first')])
  const old = world.identity.current()?.serialNumber
  await world.loop(controller.target)
  await waitFor(() => controller.serials.length >= 2)
  const renewed = await world.identity.renew(world.ca)
  await waitFor(() => controller.serials.some((s) => s === renewed.serialNumber))
  t.ok(controller.serials.some((s) => s === old))
})

t.test('a bundle that is not ours is refused by the controller, and that is said', async (t) => {
  const world = await makeWorld(t)
  const controller = await serve(world.ca)
  t.teardown(() => controller.close())
  controller.bundles.publish([{ ...(await bundleOf('x')), workload: 'shop/web' }])
  const loop = await world.loop(controller.target)
  await waitFor(() => loop.problem())
  t.match(loop.problem(), /ERR_PEER_FORBIDDEN/)
})
