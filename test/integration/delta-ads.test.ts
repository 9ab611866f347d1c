/**
 * The controller's TLS port with real sockets: who gets in, who is told what, when a connection ends.
 * Certificates are issued by the controller's own CA code; clients are plain grpc-js and node:https.
 */
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { request as httpsRequest } from 'node:https'
import { connect as plainConnect } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { NODE_METADATA } from '../../common/features.ts'
import { toServiceDefinition } from '../../common/grpc-service.ts'
import { Secret } from '../../common/secret.ts'
import { TYPE_URLS, type XdsSnapshot } from '../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../common/xds-snapshot.ts'
import { AdsServer } from '../../controller/adapters/grpc/ads-server.ts'
import { createPeerReader, MeshServer } from '../../controller/adapters/grpc/mesh-server.ts'
import { ProxyStatusService } from '../../controller/adapters/grpc/proxy-status.ts'
import { readPeer } from '../../controller/core/ca/peer.ts'
import { ProxyTable } from '../../controller/runtime/proxy-table.ts'
import { AggregatedDiscoveryService } from '../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import {
  type ProxyCommand,
  type ProxyReport,
  ProxyReportSchema,
  ProxyStatus,
} from '../../proto/gen/postern/proxy/v1alpha1/proxy_pb.js'
import { makeCa, makeSvid, type TestCa, toPem } from '../kit/identity.ts'
import { waitFor } from '../kit/wait.ts'

const clock = { now: () => Date.now(), monotonic: () => performance.now() }
const log = pino({ level: 'silent' })
const NODE = 'shop/web/uid-web'
type Svid = Awaited<ReturnType<typeof makeSvid>>

function pemOf(svid: Svid): { certificateChainPem: string; key: string } {
  const key = svid.key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return { certificateChainPem: toPem(svid.der), key }
}

async function serverIdentity(ca: TestCa) {
  const svid = await makeSvid(ca, {
    namespace: 'postern-system',
    serviceAccount: 'postern-controller',
    workloadUid: 'controller',
  })
  const { certificateChainPem, key } = pemOf(svid)
  const trustBundlePem = toPem(ca.root.der)
  return { certificateChainPem, privateKeyPem: new Secret(key), trustBundlePem }
}

function snapshotOf(text: string): XdsSnapshot {
  return toXdsSnapshot(new Map([[TYPE_URLS.listener, [toXdsResource('l', Buffer.from(text))]]]))
}

async function startController(t: Test, options: { maxConnections?: number } = {}) {
  const ca = await makeCa()
  const proxies = new ProxyTable()
  const peers = createPeerReader(readPeer, clock)
  const spiffeIds = new Map([['uid-web', 'spiffe://shop.example/ns/shop/sa/web']])
  const workloadOf = (uid: string) => {
    const spiffeId = spiffeIds.get(uid)
    return spiffeId === undefined ? undefined : { nodeId: `shop/web/${uid}`, spiffeId }
  }
  const part = { peerOf: peers.ofCall, workloadOf, proxies, log }
  const ads = new AdsServer(part)
  const status = new ProxyStatusService(part)
  const server = new MeshServer({
    host: '127.0.0.1',
    port: 0,
    identity: await serverIdentity(ca),
    services: [ads, status],
    onRequest: (req, res) => res.end(peers.ofSocket(req.socket)?.workloadUid ?? 'nobody'),
    peers,
    clock,
    log,
    ...options,
  })
  await server.start()
  t.teardown(() => server.stop(0))
  return { ca, proxies, ads, status, server, spiffeIds, target: `127.0.0.1:${server.port()}` }
}

function channel(t: Test, ca: TestCa, target: string, svid?: Svid): grpc.Client {
  const pem = svid === undefined ? undefined : pemOf(svid)
  const credentials = grpc.credentials.createSsl(
    Buffer.from(toPem(ca.root.der)),
    pem === undefined ? null : Buffer.from(pem.key),
    pem === undefined ? null : Buffer.from(pem.certificateChainPem),
    { checkServerIdentity: () => undefined },
  )
  const client = new grpc.Client(target, credentials, {
    'grpc.use_local_subchannel_pool': 1,
    // Node refuses an IP address as server name, and grpc-js would give it one.
    'grpc.ssl_target_name_override': 'controller',
  })
  t.teardown(() => client.close())
  return client
}

type Ads = grpc.ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

/** A raw delta-ADS stream and what came over it. */
class AdsStream {
  readonly call: Ads
  readonly responses: DeltaDiscoveryResponse[] = []
  status: grpc.StatusObject | undefined
  constructor(client: grpc.Client) {
    const method = toServiceDefinition(AggregatedDiscoveryService).DeltaAggregatedResources
    if (method === undefined) throw new Error('no such method')
    this.call = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
    ) as Ads
    this.call.on('data', (r: DeltaDiscoveryResponse) => this.responses.push(r))
    this.call.on('error', () => {})
    this.call.on('status', (s: grpc.StatusObject) => {
      this.status = s
    })
  }
  send(fields: {
    nodeId?: string
    features?: string[]
    nonce?: string
    error?: string
    typeUrl?: string
  }): void {
    const metadata = fields.features && {
      [NODE_METADATA.version]: '9.9.9',
      [NODE_METADATA.features]: fields.features,
    }
    this.call.write(
      create(DeltaDiscoveryRequestSchema, {
        typeUrl: fields.typeUrl ?? TYPE_URLS.listener,
        responseNonce: fields.nonce ?? '',
        ...(fields.nodeId === undefined
          ? {}
          : { node: { id: fields.nodeId, ...(metadata && { metadata }) } }),
        ...(fields.error === undefined ? {} : { errorDetail: { code: 3, message: fields.error } }),
      }),
    )
  }
  response(index: number): Promise<DeltaDiscoveryResponse> {
    return waitFor(() => this.responses[index], { what: `response ${index}` })
  }
  ended(): Promise<grpc.StatusObject> {
    return waitFor(() => this.status, { what: 'the end of the stream' })
  }
}

t.test('serves a workload its own snapshot, changes and all', async (t) => {
  const { ca, ads, proxies, target } = await startController(t)
  ads.publish(new Map([[NODE, snapshotOf('one')]]))
  const stream = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  stream.send({ nodeId: NODE })
  const first = await stream.response(0)
  t.match(first, { resources: [{ name: 'l' }], systemVersionInfo: snapshotOf('one').version })
  t.match(proxies.list(), [{ nodeId: NODE, connected: true, nacks: [] }])
  stream.send({ nonce: first.nonce })
  ads.publish(new Map([[NODE, snapshotOf('two')]]))
  const second = await stream.response(1)
  stream.send({ nonce: second.nonce, error: 'l: no good' })
  await waitFor(() => proxies.list()[0]?.nacks[0]?.message === 'l: no good')
  ads.publish(new Map([[NODE, snapshotOf('three')]]))
  stream.send({ nonce: (await stream.response(2)).nonce })
  await waitFor(() => proxies.list()[0]?.nacks.length === 0)
  stream.call.cancel()
  await waitFor(() => proxies.list()[0]?.connected === false)
})

t.test('gives a proxy nothing that it does not know, and leaves it at what it has', async (t) => {
  const { ca, ads, proxies, target } = await startController(t)
  const needs = (text: string, ...requires: string[]) => ({ ...snapshotOf(text), requires })
  ads.publish(new Map([[NODE, needs('one', 'when/source.ip')]]))
  const old = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  old.send({ nodeId: NODE })
  await waitFor(() => proxies.list()[0]?.connected)
  t.match(proxies.list(), [{ version: '', features: [] }])
  const knowing = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  knowing.send({ nodeId: NODE, features: ['when/source.ip', '  '] })
  const first = await knowing.response(0)
  t.equal(first.systemVersionInfo, snapshotOf('one').version)
  t.match(proxies.list(), [{ version: '9.9.9', features: ['when/source.ip'] }])
  t.same(old.responses, [], 'a new one gets nothing')

  ads.publish(new Map([[NODE, snapshotOf('two')]]))
  old.send({ nonce: (await old.response(0)).nonce })
  knowing.send({ nonce: first.nonce })
  knowing.send({ nonce: (await knowing.response(1)).nonce })
  ads.publish(new Map([[NODE, needs('three', 'when/moon.phase')]]))
  ads.publish(new Map([[NODE, snapshotOf('four')]]))
  for (const stream of [old, knowing]) {
    await waitFor(() => stream.responses.at(-1)?.systemVersionInfo === snapshotOf('four').version)
    t.notOk(stream.responses.some((r) => r.systemVersionInfo === snapshotOf('three').version))
  }
})

t.test('gives an older proxy the older form, and knows what it stands for', async (t) => {
  const { ca, ads, proxies, target } = await startController(t)
  const both = (text: string) => ({
    ...snapshotOf(text),
    older: { lacking: 'authz/chain', snapshot: snapshotOf(`${text}, older`) },
  })
  ads.publish(new Map([[NODE, both('one')]]))
  const old = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  old.send({ nodeId: NODE, features: ['when/source.ip'] })
  const first = await old.response(0)
  t.equal(first.systemVersionInfo, snapshotOf('one, older').version)
  old.send({ nonce: first.nonce })
  await waitFor(() => proxies.list()[0]?.ackedGeneration === both('one').version)
  ads.publish(new Map([[NODE, both('two')]]))
  const second = await old.response(1)
  t.equal(second.systemVersionInfo, snapshotOf('two, older').version)
  const knowing = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  knowing.send({ nodeId: NODE, features: ['authz/chain'] })
  t.equal((await knowing.response(0)).systemVersionInfo, snapshotOf('two').version)
})

t.test('tells nothing to a peer that is not the node', async (t) => {
  const { ca, ads, target, spiffeIds } = await startController(t)
  spiffeIds.set('uid-orders', 'spiffe://shop.example/ns/shop/sa/orders')
  ads.publish(
    new Map([
      [NODE, snapshotOf('web')],
      ['shop/orders/uid-orders', snapshotOf('orders')],
    ]),
  )
  const cases = [
    { name: 'another workload', options: { serviceAccount: 'orders', workloadUid: 'uid-orders' } },
    { name: 'the SPIFFE id, but another UID', options: { workloadUid: 'uid-other' } },
    { name: 'the UID, but another SPIFFE id', options: { serviceAccount: 'orders' } },
  ]
  for (const { name, options } of cases) {
    const stream = new AdsStream(channel(t, ca, target, await makeSvid(ca, options)))
    stream.send({ nodeId: NODE })
    t.equal((await stream.ended()).code, grpc.status.PERMISSION_DENIED, name)
    t.same(stream.responses, [], name)
  }
})

t.test('refuses a stream that changes its node', async (t) => {
  const { ca, ads, target } = await startController(t)
  ads.publish(new Map([[NODE, snapshotOf('one')]]))
  const stream = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  stream.send({ nodeId: NODE })
  await stream.response(0)
  stream.send({ nodeId: 'shop/orders/uid-orders' })
  t.equal((await stream.ended()).code, grpc.status.INVALID_ARGUMENT)
})

t.test('asks for a certificate, and for one of this mesh', async (t) => {
  const { ca, ads, target } = await startController(t)
  ads.publish(new Map([[NODE, snapshotOf('one')]]))
  const stranger = await makeSvid(await makeCa())
  for (const svid of [undefined, stranger]) {
    const stream = new AdsStream(channel(t, ca, target, svid))
    stream.send({ nodeId: NODE })
    t.equal((await stream.ended()).code, grpc.status.UNAUTHENTICATED)
    t.same(stream.responses, [])
  }
})

t.test('ends the stream of a workload that is no more', async (t) => {
  const { ca, ads, target } = await startController(t)
  ads.publish(new Map([[NODE, snapshotOf('one')]]))
  const stream = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  stream.send({ nodeId: NODE })
  await stream.response(0)
  ads.publish(new Map())
  t.equal((await stream.ended()).code, grpc.status.PERMISSION_DENIED)
})

t.test('is unavailable before the first snapshot', async (t) => {
  const { ca, target } = await startController(t)
  const stream = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  stream.send({ nodeId: NODE })
  t.equal((await stream.ended()).code, grpc.status.UNAVAILABLE)
})

t.test('closes a connection when its certificate ends', async (t) => {
  const { ca, ads, target } = await startController(t)
  ads.publish(new Map([[NODE, snapshotOf('one')]]))
  const svid = await makeSvid(ca, { lifetimeSeconds: 10, nowMs: Date.now() - 8_000 })
  const stream = new AdsStream(channel(t, ca, target, svid))
  stream.send({ nodeId: NODE })
  await stream.response(0)
  t.equal((await stream.ended()).code, grpc.status.UNAVAILABLE)
})

function tlsConnect(t: Test, port: number, alpn: string, svid?: Svid): TLSSocket {
  const pem = svid === undefined ? undefined : pemOf(svid)
  const socket = connect({
    port,
    host: '127.0.0.1',
    ALPNProtocols: [alpn],
    rejectUnauthorized: false,
    ...(pem === undefined ? {} : { cert: pem.certificateChainPem, key: pem.key }),
  })
  t.teardown(() => socket.destroy())
  return socket
}

t.test('speaks HTTP/1.1 on the same port, and knows the peer there too', async (t) => {
  const { ca, server } = await startController(t)
  const ask = async (svid?: Svid): Promise<string> => {
    const pem = svid === undefined ? undefined : pemOf(svid)
    const req = httpsRequest({
      port: server.port(),
      host: '127.0.0.1',
      agent: false,
      rejectUnauthorized: false,
      ...(pem === undefined ? {} : { cert: pem.certificateChainPem, key: pem.key }),
    }).end()
    const [res] = await once(req, 'response')
    const chunks: Buffer[] = await res.toArray()
    return Buffer.concat(chunks).toString()
  }
  t.equal(await ask(await makeSvid(ca)), 'uid-web')
  t.equal(await ask(), 'nobody')
  t.equal(await ask(await makeSvid(await makeCa())), 'nobody', 'of another CA')
})

t.test('shows a renewed certificate to new connections', async (t) => {
  const { ca, server } = await startController(t)
  const serial = async () => {
    const socket = tlsConnect(t, server.port(), 'h2')
    await once(socket, 'secureConnect')
    return socket.getPeerX509Certificate()?.serialNumber
  }
  const before = await serial()
  server.setIdentity(await serverIdentity(ca))
  t.not(await serial(), before)
})

async function isServed(socket: TLSSocket): Promise<void> {
  await once(socket, 'secureConnect')
  // HTTP/2 settings.
  await once(socket, 'data')
}

t.test('strangers keep out neither those with a certificate nor each other', async (t) => {
  const { ca, server } = await startController(t, { maxConnections: 8 })
  const svid = await makeSvid(ca)
  const silent = Array.from({ length: 2 }, () => {
    const socket = plainConnect({ port: server.port(), host: '127.0.0.1' })
    t.teardown(() => socket.destroy())
    return socket.on('error', () => {})
  })
  await Promise.all(silent.map((socket) => once(socket, 'connect')))
  await isServed(tlsConnect(t, server.port(), 'h2', svid))
  await waitFor(() => silent[0]?.destroyed, { what: 'the oldest silent one to make room' })
  const nameless = [1, 2, 3].map(() => tlsConnect(t, server.port(), 'h2').on('error', () => {}))
  await isServed(nameless[2] as TLSSocket)
  await waitFor(() => nameless.filter((s) => s.destroyed).length === 1)
  await isServed(tlsConnect(t, server.port(), 'h2', svid))
})

t.test('one workload can not take all connections', async (t) => {
  const { ca, server } = await startController(t)
  const svid = await makeSvid(ca)
  const own: TLSSocket[] = []
  for (let i = 0; i < 65; i++) {
    const socket = tlsConnect(t, server.port(), 'h2', svid)
      .on('error', () => {})
      .resume()
    own.push(socket)
    await once(socket, 'secureConnect')
  }
  await waitFor(() => own[0]?.destroyed, { what: 'its oldest to make room' })
  t.equal(own.filter((s) => s.destroyed).length, 1)
})

t.test('a stranger that sends more than an attestation takes is cut off', async (t) => {
  const { ca, server } = await startController(t)
  const pour = async (socket: TLSSocket) => {
    socket.on('error', () => {})
    await once(socket, 'secureConnect')
    socket.write('GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n')
    socket.resume()
    const chunk = Buffer.alloc(64 * 1024)
    const timer = setInterval(() => socket.write(chunk), 1)
    t.teardown(() => clearInterval(timer))
    return socket
  }
  const named = await pour(tlsConnect(t, server.port(), 'http/1.1', await makeSvid(ca)))
  const nameless = await pour(tlsConnect(t, server.port(), 'http/1.1'))
  await waitFor(() => nameless.destroyed)
  t.notOk(named.destroyed)
  t.ok(nameless.bytesWritten > 256 * 1024)

  const session = connectHttp2(`https://127.0.0.1:${server.port()}`, { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  session.on('error', () => {})
  const headers = {
    ':method': 'POST',
    ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
    'content-type': 'application/grpc',
    te: 'trailers',
  }
  const timer = setInterval(() => {
    if (session.destroyed) return clearInterval(timer)
    const stream = session.request(headers).on('error', () => {})
    stream.write(Buffer.concat([Buffer.from([0, 0, 0x3f, 0xff, 0xff]), Buffer.alloc(60_000)]))
  }, 2)
  t.teardown(() => clearInterval(timer))
  await waitFor(() => session.destroyed, { what: 'the HTTP/2 stranger to be cut off' })
})

t.test('a message nested without end is refused, and hurts nobody', async (t) => {
  const { ca, ads, target } = await startController(t)
  ads.publish(new Map([[NODE, snapshotOf('one')]]))
  const method = toServiceDefinition(AggregatedDiscoveryService).DeltaAggregatedResources
  if (method === undefined) throw new Error('no such method')
  const client = channel(t, ca, target, await makeSvid(ca))
  const same = (bytes: Buffer) => bytes
  const call = client.makeBidiStreamRequest(method.path, same, same)
  const status = new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve))
  call.on('error', () => {}).on('data', () => {})
  call.write(Buffer.alloc(1_000_000, 0x0b))
  t.not((await status).code, grpc.status.OK)
  const stream = new AdsStream(channel(t, ca, target, await makeSvid(ca)))
  stream.send({ nodeId: NODE })
  t.match(await stream.response(0), { resources: [{ name: 'l' }] })
})

t.test('accepts no more connections than its bound', async (t) => {
  const { server } = await startController(t, { maxConnections: 1 })
  await once(tlsConnect(t, server.port(), 'h2'), 'secureConnect')
  const second = tlsConnect(t, server.port(), 'h2')
  const [error] = await once(second, 'error')
  t.equal(error.code, 'ECONNRESET')
})

type StatusCall = grpc.ClientDuplexStream<ProxyReport, ProxyCommand>

function openStatus(client: grpc.Client, onPing: (token: string) => void): StatusCall {
  const method = toServiceDefinition(ProxyStatus).Stream
  if (method === undefined) throw new Error('no such method')
  const call = client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
  ) as StatusCall
  call.on('error', () => {})
  call.on('data', (command: ProxyCommand) => onPing(command.ping))
  return call
}

t.test('status: takes reports, and finds a live process but not a silent one', async (t) => {
  const { ca, proxies, status, target } = await startController(t)
  const client = channel(t, ca, target, await makeSvid(ca))
  const say = (call: StatusCall, instanceId: string, pong = '') =>
    call.write(
      create(ProxyReportSchema, {
        nodeId: NODE,
        instanceId,
        pong,
        enforcedGeneration: 'g',
        bundleRevision: 'b',
        ready: true,
      }),
    )
  const live = openStatus(client, (token) => say(live, 'one', token))
  say(live, 'one')
  await waitFor(() => proxies.list()[0]?.ready)
  t.match(proxies.list(), [{ enforcedGeneration: 'g', bundleRevision: 'b' }])
  t.equal(await status.isLive('uid-web', 'two'), true)
  t.equal(await status.isLive('uid-web', 'one'), false, 'itself does not count')
  t.equal(await status.isLive('uid-other', 'two'), false)
  live.cancel()
  await waitFor(() => proxies.list()[0]?.connected === false)
  const silent = openStatus(client, () => {})
  say(silent, 'three')
  await waitFor(() => proxies.list()[0]?.connected)
  t.equal(await status.isLive('uid-web', 'two'), false, 'no pong within 2 s')
})

t.test('status: refuses a report for another node', async (t) => {
  const { ca, proxies, target } = await startController(t)
  const client = channel(t, ca, target, await makeSvid(ca))
  const call = openStatus(client, () => {})
  let code: grpc.status | undefined
  call.on('status', (s: grpc.StatusObject) => {
    code = s.code
  })
  call.write(create(ProxyReportSchema, { nodeId: 'shop/orders/uid-orders', ready: true }))
  await waitFor(() => code === grpc.status.PERMISSION_DENIED)
  t.same(proxies.list(), [])
})
