/**
 * Who may hear a pod's token: the whole way of a sidecar's attestation, from mounted files over real TLS, against ends
 * that are not the controller. What they get of the token is looked for in every byte that they decrypt.
 */
import { randomBytes } from 'node:crypto'
import { renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { join } from 'node:path'
import { createServer as createTls } from 'node:tls'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { toPem } from '../../common/pem.ts'
import { createCsrService } from '../../controller/adapters/grpc/csr-server.ts'
import { createPeerReader, MeshServer } from '../../controller/adapters/grpc/mesh-server.ts'
import { readPeer } from '../../controller/core/ca/peer.ts'
import { nodeKeys } from '../../sidecar/adapters/crypto/keys.ts'
import { readMountedFile } from '../../sidecar/adapters/fs/identity-state.ts'
import { createCsrClient } from '../../sidecar/adapters/grpc/csr-client.ts'
import { PodAttester } from '../../sidecar/runtime/pod-attest.ts'
import { FakeClock } from '../kit/fake-clock.ts'
import { makeCa, makeSvid, type TestCa } from '../kit/identity.ts'
import { makeController, silentLog, WEB } from '../kit/identity-controller.ts'
import { tempDir } from '../kit/tempdir.ts'

const TOKEN = 'eyJhbGciOiJSUzI1NiJ9.the-token-of-the-pod.signature'
const OWNER = {
  namespace: 'shop',
  serviceAccount: 'web',
  podName: 'web',
  podUid: WEB.uid,
  nodeName: '',
}
const clock = new FakeClock(Date.now())
const { signal } = new AbortController()

/** A pod's volumes as a kubelet makes them: files behind a link that is exchanged. */
function mount(t: Test, roots: string) {
  const folder = tempDir(t)
  let version = 0
  const write = (text: string) => {
    const next = join(folder, `v${version++}`)
    writeFileSync(next, text)
    symlinkSync(next, join(folder, 'link'))
    renameSync(join(folder, 'link'), join(folder, 'ca.crt'))
  }
  write(roots)
  writeFileSync(join(folder, 'token'), TOKEN)
  return { folder, write }
}

function attesterOf(folder: string, port: number) {
  return new PodAttester({
    pod: { namespace: 'shop', name: 'web', uid: WEB.uid, serviceAccount: 'web' },
    readToken: () => readMountedFile(join(folder, 'token')),
    readRoots: () => readMountedFile(join(folder, 'ca.crt')),
    state: undefined,
    client: createCsrClient({ controller: `127.0.0.1:${port}`, clock }),
    keys: nodeKeys,
    clock,
    instanceId: randomBytes(16).toString('hex'),
    log: silentLog,
  })
}

/** Whoever sits in the controller's place, with this certificate; hears what it is told. */
async function impostor(t: Test, ca: TestCa, who: Parameters<typeof makeSvid>[1]) {
  const { der, key } = await makeSvid(ca, who)
  const heard: Buffer[] = []
  const cert = toPem(der) + toPem(ca.root.der)
  const pem = key.privateKey.export({ format: 'pem', type: 'pkcs8' })
  const options = { cert, key: pem, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' } as const
  const server = createTls(options, (socket) => {
    socket.on('data', (chunk) => heard.push(Buffer.from(chunk))).on('error', () => {})
    // As an HTTP/2 server begins: the client would go on if it believed it.
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, heard: () => Buffer.concat(heard) }
}

t.test('a token goes to nobody but the controller', async (t) => {
  const ca = await makeCa({ nowMs: clock.now() })
  const other = await makeCa({ nowMs: clock.now() })
  const controller = { namespace: 'postern-system', serviceAccount: 'postern-controller' }
  const { folder } = mount(t, toPem(ca.root.der))
  const ends = {
    'a workload of the mesh': await impostor(t, ca, { serviceAccount: 'orders' }),
    'a workload of the controller’s namespace': await impostor(t, ca, {
      namespace: 'postern-system',
      serviceAccount: 'postern-controllers',
    }),
    'one with roots of its own': await impostor(t, other, controller),
  }
  for (const [name, { port, heard }] of Object.entries(ends)) {
    const attest = attesterOf(folder, port).attest(undefined, signal)
    await t.rejects(attest, { code: 'ERR_CONTROLLER_UNTRUSTED' }, name)
    t.notMatch(heard().toString('latin1'), 'the-token-of-the-pod', name)
  }
  const plain: Buffer[] = []
  const server = createTcp((socket) => {
    socket.on('data', (chunk) => plain.push(Buffer.from(chunk))).on('error', () => {})
    socket.end('HTTP/1.1 200 OK\r\n\r\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  await t.rejects(attesterOf(folder, port).attest(undefined, signal), {
    message: /cannot be reached|not the controller/,
  })
  t.notMatch(Buffer.concat(plain).toString('latin1'), 'the-token-of-the-pod')
})

t.test(
  'the controller gets it, is asked again with the SVID, and roots may be replaced',
  async (t) => {
    const reviewed: string[] = []
    const world = await makeController({
      clock,
      pods: {
        review: async (token) => {
          reviewed.push(token.reveal())
          return OWNER
        },
        podOf: () => ({ addresses: ['127.0.0.1'], isTerminating: false, nodeName: '' }),
        isPodAddress: () => true,
      },
    })
    const peers = createPeerReader(readPeer, clock)
    const seen: (string | undefined)[] = []
    const peerOf = (call: Parameters<typeof peers.ofCall>[0]) => {
      const peer = peers.ofCall(call)
      seen.push(peer?.workloadUid)
      return peer
    }
    const { attestation, own, authority } = world.identity
    const csr = createCsrService({ attestation, peerOf, clock, log: silentLog })
    const server = new MeshServer({
      host: '127.0.0.1',
      port: 0,
      identity: own.current(),
      services: [csr],
      onRequest: (_, res) => res.end(),
      peers,
      clock,
      log: pino({ level: 'silent' }),
    })
    await server.start()
    t.teardown(async () => {
      world.identity.stop()
      await server.stop(0)
    })
    const stranger = toPem((await makeCa({ nowMs: clock.now() })).root.der)
    const { folder, write } = mount(t, stranger)
    const attester = attesterOf(folder, server.port())
    await t.rejects(attester.attest(undefined, signal), { code: 'ERR_CONTROLLER_UNTRUSTED' })
    t.same(reviewed, [])
    write(stranger + authority.trustBundlePem)
    const svid = await attester.attest(undefined, signal)
    writeFileSync(join(folder, 'token'), `${TOKEN}2`)
    await attester.attest(svid, signal)
    t.same(reviewed, [TOKEN, `${TOKEN}2`])
    t.same(seen, [undefined, WEB.uid])
  },
)
