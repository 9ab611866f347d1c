/**
 * How long what is open stays open, with a real client and a real Envoy: past the end of its certificate a connection
 * is closed and a session is not resumed; through a renewal and an edit that doesn't concern it, a stream lives on.
 */
import { once } from 'node:events'
import {
  createServer as createHttp2Server,
  connect as http2Connect,
  type ServerHttp2Stream,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { type Test, t } from 'tap'
import { startHttpApp, startTcpApp } from '../kit/apps.ts'
import type { TestSvid } from '../kit/envoy.ts'
import { makeSvid } from '../kit/identity.ts'
import {
  ca,
  type InboundMesh,
  openMeshTls,
  snapshotOf,
  startInbound,
  svidOf,
} from '../kit/inbound.ts'
import { freePorts } from '../kit/ports.ts'

const WEB = 'shop.example/ns/shop/sa/web'
const allow = (principal: string, paths?: string[]) => ({
  rules: [
    {
      from: [{ source: { principals: [principal] } }],
      ...(paths === undefined ? {} : { to: [{ operation: { paths } }] }),
    },
  ],
})
const web = await svidOf('web')

async function startShop(t: Test, more: Partial<InboundMesh> = {}) {
  const [http = 0, grpc = 0, tcp = 0, sql = 0, appHttp = 0, appGrpc = 0, appTcp = 0] =
    await freePorts(7)
  const inbound = [
    { name: 'http', port: http, appPort: appHttp },
    { name: 'grpc', port: grpc, appPort: appGrpc, protocol: 'GRPC' as const },
    { name: 'tcp', port: tcp, appPort: appTcp, protocol: 'TCP' as const },
    { name: 'sql', port: sql, appPort: appTcp, protocol: 'TCP' as const, serverFirst: true },
  ]
  await startHttpApp(t, appHttp)
  await startTcpApp(t, appTcp)
  await startEcho(t, appGrpc)
  const mesh: InboundMesh = { inbound, policies: [allow(WEB)], ...more }
  const envoy = await startInbound(t, mesh)
  const edit = (policies: NonNullable<InboundMesh['policies']>) =>
    envoy.publish(snapshotOf({ ...mesh, policies }))
  return { http, grpc, tcp, sql, envoy, edit }
}

/** A stream as gRPC has them: answers at once, and then sends back what it gets. */
async function startEcho(t: Test, port: number): Promise<void> {
  const server = createHttp2Server()
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    stream.pipe(stream)
  })
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => sessions.add(session))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
}

/** A connection that says what it heard, and when it closed. */
function follow(t: Test, socket: TLSSocket) {
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  let heard = ''
  socket.on('error', () => {})
  socket.on('data', (part) => {
    heard += String(part)
    socket.emit('heard')
  })
  t.teardown(() => socket.destroy())
  const hears = async (text: string) => {
    while (!heard.endsWith(text)) {
      await new Promise<void>((resolve) => socket.once('heard', () => resolve()))
    }
  }
  return { socket, closed, hears }
}

function openHttp2(t: Test, port: number, svid: TestSvid) {
  const session = http2Connect(`https://127.0.0.1:${port}`, {
    createConnection: () => openMeshTls(port, svid, { ALPNProtocols: ['h2'] }),
  })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  const closed = new Promise<void>((resolve) => session.once('close', () => resolve()))
  const open = async (path: string) => {
    const stream = session.request({ ':path': path, ':method': 'POST' })
    const [head] = await once(stream, 'response')
    return { stream, status: Number(head[':status']) }
  }
  return { session, closed, open }
}

async function echoes(
  stream: Awaited<ReturnType<ReturnType<typeof openHttp2>['open']>>['stream'],
  text: string,
) {
  stream.write(text)
  let heard = ''
  while (!heard.endsWith(text)) heard += String((await once(stream, 'data'))[0])
}

const UPGRADE = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
const KEPT = 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n'

t.test(
  'what was opened with a certificate that has ended since is closed, idle or not',
  async (t) => {
    const { http, grpc, tcp, sql } = await startShop(t, { svidLifetimeSeconds: 4 })
    const nowMs = Date.now()
    const short = await makeSvid(ca, { serviceAccount: 'web', lifetimeSeconds: 3, nowMs })
    const idle = follow(t, openMeshTls(http, short))
    idle.socket.write(KEPT)
    await idle.hears('}')
    const websocket = follow(t, openMeshTls(http, short))
    websocket.socket.write(`${UPGRADE}ping`)
    await websocket.hears('ping')
    const [plainTcp, greeted] = [
      follow(t, openMeshTls(tcp, short)),
      follow(t, openMeshTls(sql, short)),
    ]
    plainTcp.socket.write('hello')
    await Promise.all([plainTcp.hears('hello'), greeted.hears('greeting ')])
    const http2 = openHttp2(t, grpc, short)
    const { stream } = await http2.open('/a')
    stream.on('error', () => {})
    await Promise.all([
      idle.closed.then(() => t.pass('an idle HTTP/1.1 connection')),
      websocket.closed.then(() => t.pass('a websocket')),
      plainTcp.closed.then(() => t.pass('a TCP connection')),
      greeted.closed.then(() => t.pass('a TCP connection of a server-first port')),
      http2.closed.then(() => t.pass('an HTTP/2 connection with a stream')),
    ])
    for (const port of [http, tcp, sql]) {
      const late = follow(t, openMeshTls(port, short))
      late.socket.write(KEPT)
      await late.closed
    }
    t.pass('and none can be opened anew')
  },
)

for (const minTLSVersion of ['TLSv1_2', 'TLSv1_3'] as const) {
  t.test(`no session is resumed, so none outlives its certificate: ${minTLSVersion}`, async (t) => {
    const { http } = await startShop(t, { mtls: { minTLSVersion } })
    const maxVersion = minTLSVersion === 'TLSv1_2' ? ('TLSv1.2' as const) : ('TLSv1.3' as const)
    const sessions: Buffer[] = []
    const open = async (svid: TestSvid, session?: Buffer) => {
      const more = { maxVersion, ...(session === undefined ? {} : { session }) }
      const one = follow(t, openMeshTls(http, svid, more))
      one.socket.on('session', (given) => sessions.push(given))
      one.socket.write(KEPT)
      await Promise.race([one.hears('}'), one.closed])
      const given = one.socket.getSession()
      const facts = { open: !one.socket.destroyed, reused: one.socket.isSessionReused() }
      return { ...facts, given, protocol: one.socket.getProtocol() }
    }
    const short = await makeSvid(ca, {
      serviceAccount: 'web',
      lifetimeSeconds: 2,
      nowMs: Date.now(),
    })
    const first = await open(short)
    t.match(first, { open: true, reused: false, protocol: maxVersion })
    const offered = sessions.at(-1) ?? first.given
    t.match(await open(short, offered), { open: true, reused: false }, 'a full handshake again')
    const end = short.template.notAfterMs
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, end - Date.now()) + 50))
    t.match(await open(short, offered), { open: false }, 'refused after the end')
  })
}

t.test(
  'streams live through a renewal and edits; what concerns them acts on the next request',
  async (t) => {
    const { http, grpc, tcp, envoy, edit } = await startShop(t)
    const websocket = follow(t, openMeshTls(http, web))
    websocket.socket.write(`${UPGRADE}ping`)
    await websocket.hears('ping')
    const connection = follow(t, openMeshTls(tcp, web))
    connection.socket.write('hello')
    await connection.hears('hello')
    const http2 = openHttp2(t, grpc, web)
    const { stream, status } = await http2.open('/watch')
    t.equal(status, 200)
    const live = async (what: string) => {
      await echoes(stream, what)
      for (const one of [websocket, connection]) {
        one.socket.write(what)
        await one.hears(what)
      }
      t.pass(what)
    }
    const shown = async () => {
      const one = follow(t, openMeshTls(http, web))
      await new Promise((resolve) => one.socket.once('secureConnect', resolve))
      return one.socket.getPeerX509Certificate()
    }
    const before = await shown()
    await envoy.renew(await svidOf('orders'))
    const after = await shown()
    t.not(after?.serialNumber, before?.serialNumber, 'another certificate')
    t.notSame(
      after?.publicKey.export({ format: 'jwk' }),
      before?.publicKey.export({ format: 'jwk' }),
    )
    await live('through a renewal')
    await edit([allow(WEB), { action: 'DENY', ...allow('shop.example/ns/shop/sa/other') }])
    await live('through an edit that concerns others')
    await edit([allow(WEB, ['/other'])])
    await live('through an edit that concerns them: they were decided when they began')
    t.equal(await grpcStatus(http2, '/watch'), '7', 'the next request of the same connection')
    t.equal((await http2.open('/other')).status, 200)
  },
)

async function grpcStatus(http2: ReturnType<typeof openHttp2>, path: string): Promise<string> {
  const stream = http2.session.request({ ':path': path, 'content-type': 'application/grpc' })
  const [head] = await once(stream, 'response')
  return String(head['grpc-status'])
}
