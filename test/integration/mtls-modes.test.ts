/**
 * STRICT, PERMISSIVE and DISABLE through real Envoys: which connections a port takes in each mode, who the rules take
 * them for, what a change of mode does to connections that are open, and what callers of the mesh speak to whom.
 */

import { once } from 'node:events'
import { createServer, type TLSSocket, connect as tlsConnect } from 'node:tls'
import { type Test, t } from 'tap'
import type { AuthorizationPolicySpec, MeshMtls } from '../../controller/core/crd/index.ts'
import {
  callHttp,
  callHttp2,
  keepConnection,
  startHttpApp,
  startTcpApp,
  talk,
} from '../kit/apps.ts'
import { startEnvoy } from '../kit/envoy.ts'
import { toPem } from '../kit/identity.ts'
import {
  callerSnapshotOf,
  type InboundMesh,
  openMeshTls,
  openPlain,
  snapshotOf,
  startInbound,
  svidOf,
} from '../kit/inbound.ts'
import { freePorts } from '../kit/ports.ts'
import { waitFor } from '../kit/wait.ts'

type Rules = readonly Partial<AuthorizationPolicySpec>[]
const WEB_ONLY: Rules = [
  { rules: [{ from: [{ source: { principals: ['shop.example/ns/shop/sa/web'] } }] }] },
]
const NOT_WEB: Rules = [
  { rules: [{}] },
  {
    action: 'DENY',
    rules: [{ from: [{ source: { notPrincipals: ['shop.example/ns/shop/sa/web'] } }] }],
  },
]
const ANYONE: Rules = [{ rules: [{}] }]
const web = await svidOf('web')
const orders = await svidOf('orders')
const MESH = { ALPNProtocols: ['postern'] }
const GET = 'GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

async function startShop(t: Test, mode: MeshMtls['mode'], policies: Rules) {
  const [http = 0, tcp = 0, appHttp = 0, appTcp = 0, toHttp = 0, toTcp = 0] = await freePorts(6)
  const inbound = [
    { name: 'http', port: http, appPort: appHttp },
    { name: 'tcp', port: tcp, appPort: appTcp, protocol: 'TCP' as const },
  ]
  const mesh: InboundMesh = { inbound, policies, mtls: { mode } }
  const envoy = await startInbound(t, mesh)
  const edit = (more: Partial<InboundMesh>) => envoy.publish(snapshotOf({ ...mesh, ...more }))
  return { ports: { http, tcp, appHttp, appTcp, toHttp, toTcp }, mesh, envoy, edit }
}

/** An app that ends TLS itself, and says what it heard. */
async function startTlsApp(t: Test, port: number) {
  const key = orders.key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const sockets = new Set<TLSSocket>()
  const server = createServer({ cert: toPem(orders.der), key, ALPNProtocols: ['h2', 'http/1.1'] })
  server.on('secureConnection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (part) => socket.write(`own ${part}`))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { connections: () => sockets.size }
}

function openOwnTls(port: number, ALPNProtocols: string[] = []) {
  return tlsConnect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols })
}

const status = async (socket: ReturnType<typeof openPlain>) => {
  const { heard } = await talk(socket, GET, (h) => h.includes('\r\n\r\n'))
  return heard.slice(9, 12)
}

t.test('PERMISSIVE takes both, and a principal never matches plaintext', async (t) => {
  const { ports, edit } = await startShop(t, 'PERMISSIVE', WEB_ONLY)
  const app = await startHttpApp(t, ports.appHttp)
  t.equal(await status(openMeshTls(ports.http, web, MESH)), '200')
  t.equal(await status(openPlain(ports.http)), '403')
  t.equal(app.seen.length, 1)
  await edit({ policies: NOT_WEB })
  t.equal(await status(openMeshTls(ports.http, web, MESH)), '200')
  t.equal(await status(openPlain(ports.http)), '403', 'who has no identity is not web')
  await edit({ policies: ANYONE })
  t.equal(await status(openPlain(ports.http)), '200')
  t.notOk(app.seen.at(-1)?.headers['x-forwarded-client-cert'], 'and has no name')
  await t.rejects(
    once(openMeshTls(ports.http, undefined, MESH), 'end'),
    'the token asks for a certificate',
  )
})

t.test("an app's own TLS passes as it is under PERMISSIVE, by the plaintext rules", async (t) => {
  const { ports, edit } = await startShop(t, 'PERMISSIVE', WEB_ONLY)
  const app = await startTlsApp(t, ports.appTcp)
  const closed = { heard: '', closed: true }
  t.same(await talk(openOwnTls(ports.tcp), 'hello', () => true), closed, 'nobody is web')
  t.equal(app.connections(), 0)
  await edit({ policies: ANYONE })
  for (const alpn of [[], ['h2'], ['http/1.1']]) {
    const answer = await talk(openOwnTls(ports.tcp, alpn), 'hello', (h) => h.endsWith('hello'))
    t.equal(answer.heard, 'own hello', `ALPN ${alpn}`)
  }
  await edit({ policies: [{ rules: [{ to: [{ operation: { paths: ['/a'] } }] }] }] })
  t.same(await talk(openOwnTls(ports.tcp), 'hello', () => true), closed, 'no path is seen')
  await edit({ policies: ANYONE, mtls: { mode: 'STRICT' } })
  t.same(await talk(openOwnTls(ports.tcp), 'hello', () => true), closed, 'not under STRICT')
})

t.test('DISABLE takes plaintext only, and knows nobody', async (t) => {
  const { ports, edit } = await startShop(t, 'DISABLE', WEB_ONLY)
  const app = await startHttpApp(t, ports.appHttp)
  t.equal(await status(openPlain(ports.http)), '403')
  await edit({ policies: ANYONE })
  t.equal(await status(openPlain(ports.http)), '200')
  await t.rejects(once(openMeshTls(ports.http, web, MESH), 'secureConnect'), 'no TLS')
  t.equal(app.seen.length, 1)
  await startTcpApp(t, ports.appTcp)
  const { heard } = await talk(openPlain(ports.tcp), 'x', (h) => h.endsWith('x'))
  t.equal(heard, 'greeting x', 'one byte is enough: nobody looks for TLS')
})

t.test('from PERMISSIVE to STRICT, mesh connections stay and all others end', async (t) => {
  const { ports, edit } = await startShop(t, 'PERMISSIVE', ANYONE)
  await startTcpApp(t, ports.appTcp)
  const mesh = openMeshTls(ports.tcp, web, MESH)
  const plain = openPlain(ports.tcp)
  const ends = new Promise((resolve) => plain.once('close', resolve))
  for (const socket of [mesh, plain]) {
    socket.on('error', () => {})
    socket.write('hello')
    await once(socket, 'data')
  }
  await edit({ mtls: { mode: 'STRICT' } })
  await ends
  mesh.write('still here')
  let heard = ''
  while (!heard.endsWith('still here')) heard += String((await once(mesh, 'data'))[0])
  mesh.destroy()
  t.pass('the mesh connection was not touched')
})

t.test('callers speak to each endpoint what it takes', async (t) => {
  const { ports, mesh, envoy, edit } = await startShop(t, 'STRICT', ANYONE)
  const app = await startHttpApp(t, ports.appHttp)
  await startTcpApp(t, ports.appTcp)
  const outbound = { toHttp: ports.toHttp, toTcp: ports.toTcp }
  const caller = await startEnvoy(t, web, callerSnapshotOf(mesh, outbound))
  const named = () => app.seen.at(-1)?.headers['x-forwarded-client-cert']
  for (const mode of ['STRICT', 'PERMISSIVE', 'DISABLE', 'STRICT'] as const) {
    await edit({ mtls: { mode } })
    await caller.publish(callerSnapshotOf({ ...mesh, mtls: { mode } }, outbound))
    // A pooled connection of the mode before is answered once more, by a chain that is going: 403 or 503, never the app.
    const first = { what: `an answer under ${mode}` }
    await waitFor(async () => (await callHttp(ports.toHttp, '/a')).status === 200, first)
    t.equal((await callHttp(ports.toHttp, '/a')).status, 200, `HTTP/1.1, ${mode}`)
    await waitFor(async () => (await callHttp2(ports.toHttp, '/a')).status === 200, first)
    t.equal(named() === undefined, mode === 'DISABLE', 'mutual TLS wherever it is taken')
    const tcp = await talk(openPlain(ports.toTcp), 'x', (h) => h.endsWith('x'))
    t.equal(tcp.heard, 'greeting x', `TCP, ${mode}`)
  }
  t.same([...envoy.nacks, ...caller.nacks], [])
})

t.test('plaintext is never spoken to a server that asks for TLS', async (t) => {
  const { ports, mesh, edit } = await startShop(t, 'STRICT', ANYONE)
  const app = await startHttpApp(t, ports.appHttp)
  const outbound = { toHttp: ports.toHttp, toTcp: ports.toTcp }
  const caller = await startEnvoy(t, web, callerSnapshotOf(mesh, outbound))
  await edit({ mtls: { mode: 'DISABLE' } })
  const agent = keepConnection(t)
  t.equal((await callHttp(ports.toHttp, '/a', { agent })).status, 503, 'a caller that knows STRICT')
  t.equal(app.seen.length, 0)
  t.match(await caller.admin('/stats?filter=ssl.connection_error'), /connection_error: [1-9]/)
})
