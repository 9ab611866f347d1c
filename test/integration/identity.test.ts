/**
 * Identity over the wire: the real mesh port, CSR service and client, on files and TLS 1.3. OpenSSL judges what they
 * make: chains by `openssl verify` where it is installed, and handshakes between two workloads by node:tls.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import pino from 'pino'
import t, { type Test } from 'tap'
import { nodeKeys } from '../../controller/adapters/crypto/keys.ts'
import { createCsrService } from '../../controller/adapters/grpc/csr-server.ts'
import { createPeerReader, MeshServer } from '../../controller/adapters/grpc/mesh-server.ts'
import { createIdentityStore } from '../../controller/adapters/state/identity-store.ts'
import { readPeer } from '../../controller/core/ca/peer.ts'
import { createAuthority } from '../../controller/runtime/identity/authority.ts'
import { openControllerIdentity } from '../../controller/runtime/identity/identity.ts'
import { nodeKeys as sidecarKeys } from '../../sidecar/adapters/crypto/keys.ts'
import { createIdentityState, readJoinTokenFile } from '../../sidecar/adapters/fs/identity-state.ts'
import { createCsrClient } from '../../sidecar/adapters/grpc/csr-client.ts'
import type { Svid } from '../../sidecar/ports.ts'
import { startIdentity } from '../../sidecar/runtime/identity.ts'
import { Attester } from '../../sidecar/runtime/identity-attest.ts'
import { makeCa, makeSvid, toPem } from '../kit/identity.ts'
import { WEB } from '../kit/identity-controller.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

const log = pino({ level: process.env.TEST_LOG ?? 'silent' })
const clock = { now: () => Date.now(), monotonic: () => performance.now() }
const ORDERS = {
  ...WEB,
  name: 'orders',
  uid: 'uid-orders',
  spiffeId: 'spiffe://shop.example/ns/shop/sa/orders',
}

async function startController(
  folder: string,
  options: { port?: number; svidLifetimeSeconds?: number } = {},
) {
  const settings = {
    trustDomain: 'shop.example',
    svidLifetimeSeconds: options.svidLifetimeSeconds ?? 3600,
    maxSvidLifetimeSeconds: 86_400,
  }
  const workloads = [WEB, ORDERS]
  const store = createIdentityStore(join(folder, 'ca'))
  const authority = { trustDomain: 'shop.example', store, keys: nodeKeys, clock, randomBytes }
  await createAuthority({ ...authority, rootLifetimeSeconds: 315_360_000 })
  const identity = await openControllerIdentity({
    ...authority,
    directory: {
      settings: () => settings,
      workloadOf: (query) =>
        workloads.find((w) =>
          'uid' in query ? w.uid === query.uid : `${w.namespace}/${w.name}` === query.key,
        ),
    },
    isLive: async () => false,
    log,
    onRevoked: () => {},
  })
  const peers = createPeerReader(readPeer, clock)
  const csr = createCsrService({
    attestation: identity.attestation,
    peerOf: (call) => peers.ofCall(call),
    clock,
    log,
  })
  const server = new MeshServer({
    host: '127.0.0.1',
    port: options.port ?? 0,
    identity: identity.own.current(),
    services: [csr],
    onRequest: (_, response) => response.end(),
    peers,
    clock,
    log,
  })
  await server.start()
  identity.own.onRenewed((svid) => server.setIdentity(svid))
  const stop = async () => {
    identity.stop()
    await server.stop(0)
  }
  return { identity, server, stop, port: server.port() }
}

function startSidecar(folder: string, port: number, tokenFile: string) {
  const abort = new AbortController()
  const attester = new Attester({
    state: createIdentityState(folder),
    client: createCsrClient({ controller: `127.0.0.1:${port}`, clock }),
    keys: sidecarKeys,
    readJoinToken: () => readJoinTokenFile(tokenFile),
    clock,
    instanceId: randomBytes(16).toString('hex'),
  })
  return startIdentity({ attester, clock, log, signal: abort.signal })
}

type Sidecar = Awaited<ReturnType<typeof startSidecar>>

const nextSvid = (sidecar: Sidecar, isWanted: (svid: Svid) => boolean = () => true) =>
  new Promise<Svid>((resolve) => {
    const stop = sidecar.subscribe((svid) => {
      if (!isWanted(svid)) return
      queueMicrotask(() => stop())
      resolve(svid)
    })
  })

const problemOf = (sidecar: Sidecar) => waitFor(() => sidecar.problem(), { what: 'a problem' })

/** A controller, and a token for shop/web in a file. Everything ends with the test. */
async function setUp(t: Test, options: { svidLifetimeSeconds?: number } = {}) {
  const folder = tempDir(t)
  const controller = await startController(join(folder, 'controller'), options)
  t.teardown(() => controller.stop())
  const { token } = await controller.identity.createJoinToken({ workload: 'shop/web' })
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, `${token.reveal()}\n`, { mode: 0o600 })
  const begin = async (stateDir = join(folder, 'sidecar'), port = controller.port) => {
    const sidecar = await startSidecar(stateDir, port, tokenFile)
    t.teardown(() => sidecar.stop())
    return sidecar
  }
  return { folder, controller, tokenFile, token, begin }
}

t.test('a join token buys an SVID that OpenSSL takes', async (t) => {
  const { folder, begin, controller } = await setUp(t)
  const svid = await nextSvid(await begin())
  t.equal(svid.spiffeId, WEB.spiffeId)
  t.same(svid.workload, { namespace: 'shop', name: 'web', uid: 'uid-web' })
  const leaf = join(folder, 'leaf.pem')
  const root = join(folder, 'root.pem')
  writeFileSync(leaf, svid.certificateChain.map((der) => toPem(der)).join(''))
  writeFileSync(root, controller.identity.authority.trustBundlePem)
  if (spawnSync('openssl', ['version']).status !== 0) {
    t.comment('openssl is not installed: its judgement is left out')
    return
  }
  for (const purpose of ['sslclient', 'sslserver']) {
    const verified = execFileSync('openssl', [
      'verify',
      '-x509_strict',
      '-purpose',
      purpose,
      '-CAfile',
      root,
      leaf,
    ])
    t.match(verified.toString(), /leaf\.pem: OK/, purpose)
  }
  const text = execFileSync('openssl', ['x509', '-noout', '-text', '-in', leaf]).toString()
  t.match(
    text,
    /Subject Alternative Name: critical\s+URI:spiffe:\/\/shop\.example\/ns\/shop\/sa\/web/,
  )
  t.match(text, /Key Usage: critical\s+Digital Signature\n/)
  t.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/)
  t.match(text, /CA:FALSE/)
})

t.test('two workloads shake hands, and a stranger does not', async (t) => {
  const { folder, begin, controller } = await setUp(t)
  const web = await nextSvid(await begin())
  const { token } = await controller.identity.createJoinToken({ workload: 'shop/orders' })
  const ordersToken = join(folder, 'orders-token')
  writeFileSync(ordersToken, token.reveal())
  const ordersSidecar = await startSidecar(join(folder, 'orders'), controller.port, ordersToken)
  t.teardown(() => ordersSidecar.stop())
  const orders = await nextSvid(ordersSidecar)
  const server = createServer({ ...tlsOf(orders), requestCert: true, rejectUnauthorized: true })
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const seen = new Promise<TLSSocket>((resolve) => server.once('secureConnection', resolve))
  const client = connect({
    host: '127.0.0.1',
    port,
    ...tlsOf(web),
    checkServerIdentity: () => undefined,
  })
  const socket = await seen
  t.match(readPeer(socket.getPeerX509Certificate()?.raw ?? new Uint8Array()), {
    spiffeId: WEB.spiffeId,
    workloadUid: 'uid-web',
  })
  client.destroy()
  const stranger = await makeSvid(await makeCa())
  const refused = new Promise((resolve) => server.once('tlsClientError', resolve))
  const intruder = connect({
    host: '127.0.0.1',
    port,
    cert: toPem(stranger.der),
    key: stranger.key.privateKey.export({ format: 'pem', type: 'pkcs8' }),
    rejectUnauthorized: false,
  })
  intruder.on('error', () => {})
  await refused
  intruder.destroy()
  t.pass('the stranger is refused')
})

t.test('the key is in memory only, and the state folder is private', async (t) => {
  const { folder, begin } = await setUp(t)
  const svid = await nextSvid(await begin())
  const jwk = svid.privateKey.reveal().export({ format: 'jwk' })
  const secret = Buffer.from(jwk.d ?? '', 'base64url')
  const pkcs8 = svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }).toString()
  for (const place of ['sidecar', 'controller/ca']) {
    t.equal(statSync(join(folder, place)).mode & 0o777, 0o700, place)
    for (const name of readdirSync(join(folder, place))) {
      const path = join(folder, place, name)
      const bytes = readFileSync(path)
      t.equal(statSync(path).mode & 0o777, 0o600, path)
      t.notOk(
        bytes.includes(secret) || bytes.includes(pkcs8.slice(30, 90)),
        `${name} has no SVID key`,
      )
    }
  }
  t.same(readdirSync(join(folder, 'sidecar')), ['identity.json'])
})

t.test(
  'renews at half-life, with the certificate presented, and survives both restarts',
  async (t) => {
    const { folder, controller, begin } = await setUp(t, { svidLifetimeSeconds: 10 })
    const callers = recordCallers(controller)
    const sidecar = await begin()
    const first = await nextSvid(sidecar)
    const second = await nextSvid(sidecar, (svid) => svid.serialNumber !== first.serialNumber)
    t.ok(second.notAfterMs > first.notAfterMs)
    t.ok(Date.now() < first.notAfterMs, 'before the old one ended')
    t.equal(callers[0], undefined)
    t.match(callers[1], { workloadUid: 'uid-web' }, 'the SVID is presented, once there is one')
    await sidecar.stop()
    await controller.stop()
    const again = await startController(join(folder, 'controller'), { port: controller.port })
    t.teardown(() => again.stop())
    t.same(again.identity.authority.trustBundle, controller.identity.authority.trustBundle)
    const restarted = await begin()
    t.not((await nextSvid(restarted)).serialNumber, second.serialNumber)
  },
)

t.test('waits for a controller that is not there yet', async (t) => {
  const { folder, controller, begin } = await setUp(t)
  await controller.stop()
  const sidecar = await begin()
  t.match(await problemOf(sidecar), {
    code: 'ERR_CONTROLLER_UNAVAILABLE',
    message: /cannot be reached: connect ECONNREFUSED 127\.0\.0\.1:\d+$/,
  })
  t.equal(sidecar.current(), undefined)
  const again = await startController(join(folder, 'controller'), { port: controller.port })
  t.teardown(() => again.stop())
  t.match(await nextSvid(sidecar), { spiffeId: WEB.spiffeId })
})

t.test(
  'a spent token is refused clearly, and a new one in its file is taken at once',
  async (t) => {
    const { controller, begin, tokenFile, folder } = await setUp(t)
    await nextSvid(await begin())
    const second = await begin(join(folder, 'second'))
    t.match(await problemOf(second), { code: 'ERR_TOKEN_USED' })
    const { token } = await controller.identity.createJoinToken({ workload: 'shop/web' })
    writeFileSync(tokenFile, token.reveal())
    t.match(await nextSvid(second), { spiffeId: WEB.spiffeId })
  },
)

t.test('sends no token to a controller of another root', async (t) => {
  const { folder, token, tokenFile } = await setUp(t)
  const impostor = await startController(join(folder, 'impostor'))
  t.teardown(() => impostor.stop())
  const callers = recordCallers(impostor)
  const sidecar = await startSidecar(join(folder, 'x'), impostor.port, tokenFile)
  t.teardown(() => sidecar.stop())
  t.match(await problemOf(sidecar), { code: 'ERR_CONTROLLER_UNTRUSTED', message: /fingerprint/ })
  t.same(callers, [], 'it was not even asked')
  t.notOk(JSON.stringify(sidecar.problem()).includes(token.reveal().slice(40, 80)))
})

t.test('a workload with a valid SVID cannot pose as the controller', async (t) => {
  const { folder, begin, controller } = await setUp(t)
  const first = await begin()
  const svid = await nextSvid(first)
  await first.stop()
  // The workload serves its own SVID, with the real root, at the address of the controller.
  let sent = 0
  const impostor = createServer({
    ...tlsOf(svid),
    cert: [...svid.certificateChain, ...svid.trustBundle].map((der) => toPem(der)).join(''),
    ALPNProtocols: ['h2'],
  })
  impostor.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      sent += bytes.includes('postern-join') || bytes.includes('Attest') ? 1 : 0
    })
  })
  t.teardown(() => impostor.close())
  await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve))
  const { port } = impostor.address() as { port: number }
  const restarted = await begin(join(folder, 'sidecar'), port)
  t.match(await problemOf(restarted), { code: 'ERR_CONTROLLER_UNTRUSTED', message: /not spiffe/ })
  const { token } = await controller.identity.createJoinToken({ workload: 'shop/orders' })
  const freshFile = join(folder, 'fresh-token')
  writeFileSync(freshFile, token.reveal())
  const fresh = await startSidecar(join(folder, 'fresh'), port, freshFile)
  t.teardown(() => fresh.stop())
  t.match(await problemOf(fresh), { code: 'ERR_CONTROLLER_UNTRUSTED', message: /not spiffe/ })
  t.equal(sent, 0)
})

t.test('a state folder that was touched is refused, never made anew', async (t) => {
  const { folder, controller } = await setUp(t)
  await controller.stop()
  const ca = join(folder, 'controller', 'ca')
  const root = readFileSync(join(ca, 'root.pem'))
  const start = () => startController(join(folder, 'controller'))
  chmodSync(join(ca, 'root.pem'), 0o644)
  await t.rejects(start(), { code: 'ERR_STATE_CORRUPT', message: /open to other users/ })
  chmodSync(join(ca, 'root.pem'), 0o600)
  rmSync(join(ca, 'root.pem'))
  await t.rejects(start(), { code: 'ERR_STATE_CORRUPT', message: /root\.pem.*restore/ })
  writeFileSync(join(ca, 'root.pem'), root.subarray(0, 500), { mode: 0o600 })
  await t.rejects(start(), { code: 'ERR_STATE_CORRUPT', message: /root\.pem is damaged/ })
  const attestation = readFileSync(join(ca, 'attestation.pem'))
  writeFileSync(join(ca, 'root.pem'), attestation, { mode: 0o600 })
  await t.rejects(start(), { code: 'ERR_STATE_CORRUPT' })
  writeFileSync(join(ca, 'root.pem'), root, { mode: 0o600 })
  writeFileSync(join(ca, 'identities.json'), '{}', { mode: 0o600 })
  await t.rejects(start(), { code: 'ERR_STATE_CORRUPT', message: /identities\.json is damaged/ })
  rmSync(join(ca, 'identities.json'))
  await t.rejects(start(), { code: 'ERR_STATE_CORRUPT', message: /identities\.json/ })
})

/** Who attests, from now on. */
function recordCallers(controller: Awaited<ReturnType<typeof startController>>) {
  const { attestation } = controller.identity
  const callers: unknown[] = []
  const { attest } = attestation
  Object.assign(attestation, {
    attest: (...[request, caller]: Parameters<typeof attest>) => {
      callers.push(caller.peer)
      return attest(request, caller)
    },
  })
  return callers
}

function tlsOf(svid: Svid) {
  return {
    cert: svid.certificateChain.map((der) => toPem(der)).join(''),
    key: svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }),
    ca: svid.trustBundle.map((der) => toPem(der)),
  }
}
