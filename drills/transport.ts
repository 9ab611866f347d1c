/**
 * Drill: what is open (issue 5, Shows 6), with SVIDs of 20 s. A server-first port is silent to who is denied; what was
 * opened with a certificate that ends is closed within the documented bound; a gRPC stream and a websocket live through
 * a renewal and an edit that doesn't concern them, and one that does holds for the next request.
 */

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TlsIdentity } from '../demo/client.ts'
import { waitFor } from '../demo/process.ts'
import type { Stack, StackOptions } from '../demo/stack.ts'
import { fetchSvid, toTlsIdentity } from '../demo/tester.ts'
import {
  EchoStream,
  exchange,
  type Followed,
  follow,
  openTls,
  UPGRADE,
} from './open-connections.ts'
import { readSerial } from './renewal.ts'
import { type Claim, claim, type DrillReport, timedClaim } from './report.ts'

const PORTS = { http: 21005, grpc: 21006, tcp: 21007, sql: 21008 } as const
const APPS = { http: 21105, grpc: 21106, tcp: 21107 } as const
const FILE = 'transport.yaml'
const GREETING = '220 ready\r\n'
const LIFETIME_MS = 20_000
/** docs/reference/traffic.md: half of the lifetime, and the drain of HTTP. */
const BOUND_MS = LIFETIME_MS / 2 + 2000
/** Of this machine, under load. */
const SLACK_MS = 1000
const LAST_MOMENT_MS = 1500
const SILENCE_MS = 500
const TESTER = 'spiffe://shop.example/ns/shop/sa/tester'

const MANIFEST = `apiVersion: postern.dev/v1alpha1
kind: WorkloadEntry
metadata: { name: db, namespace: shop }
spec:
  serviceAccount: db
  inbound:
    - { name: http, port: ${PORTS.http}, appPort: ${APPS.http} }
    - { name: grpc-echo, port: ${PORTS.grpc}, appPort: ${APPS.grpc} }
    - { name: tcp, port: ${PORTS.tcp}, appPort: ${APPS.tcp} }
    - { name: smtp, port: ${PORTS.sql}, appPort: ${APPS.tcp} }
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: db, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: db }]
  rules:
    - from: [{ source: { principals: ["${TESTER}"] } }]
`
const denyPath = (name: string, path: string) => `---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: db }]
  action: DENY
  rules:
    - to: [{ operation: { ports: [${PORTS.grpc}], paths: ["${path}"] } }]
`

/** Beside the shop's manifests; its SVIDs must be short (`withShortSvids`). */
export const TRANSPORT_STACK: Omit<StackOptions, 'work' | 'portOffset'> = {
  workloads: ['shop/db'],
  more: { [FILE]: MANIFEST },
}

interface Apps {
  /** Connections of the TCP app so far. */
  greeted(): number
  close(): void
}

type PortName = keyof typeof PORTS
type At = (port: number) => number

export async function drillTransport(stack: Stack): Promise<DrillReport> {
  const offset = stack.ports.web - 21001
  const at: At = (port) => port + offset
  const apps = await startApps(at)
  const name = 'what is open, with SVIDs of 20 s'
  try {
    const mallory = toTlsIdentity(await fetchSvid(stack, 'guests/mallory'))
    const tester = () => fetchSvid(stack, 'shop/tester')
    const claims = [
      ...(await drillServerFirst(at, apps, { tester: toTlsIdentity(await tester()), mallory })),
      ...(await drillEnds(at, await tester())),
      ...(await drillStreams(stack, at, async () => toTlsIdentity(await tester()))),
    ]
    return { name, claims }
  } finally {
    apps.close()
  }
}

async function drillServerFirst(
  at: At,
  apps: Apps,
  who: { readonly tester: TlsIdentity; readonly mallory: TlsIdentity },
): Promise<readonly Claim[]> {
  const allowed = follow('allowed', openTls(at(PORTS.sql), who.tester))
  const isGreeted = await exchange(allowed, '', GREETING)
  allowed.socket.destroy()
  const before = apps.greeted()
  const denied = Array.from({ length: 20 }, (_, i) =>
    follow(`denied ${i}`, openTls(at(PORTS.sql), who.mallory)),
  )
  await sleep(SILENCE_MS)
  await Promise.all(denied.map(({ closed }) => closed))
  const bytes = denied.reduce((sum, { heard }) => sum + heard().length, 0)
  const seen = apps.greeted() - before
  return [
    claim(
      'a client that is allowed and says nothing is greeted',
      isGreeted,
      allowed.heard().trim(),
    ),
    claim('20 clients that are denied and say nothing receive 0 bytes', bytes === 0, bytes),
    claim('and the app sees no connection of theirs', seen === 0, seen),
  ]
}

/** Opens one of each kind in the last moment of a certificate, and waits until all are closed. */
async function drillEnds(
  at: At,
  svid: Awaited<ReturnType<typeof fetchSvid>>,
): Promise<readonly Claim[]> {
  const identity = toTlsIdentity(svid)
  await sleep(Math.max(0, svid.notAfterMs - LAST_MOMENT_MS - Date.now()))
  const opened = await openAll(at, identity)
  await sleep(Math.max(0, svid.notAfterMs + SILENCE_MS - Date.now()))
  const refused = follow('refused', openTls(at(PORTS.tcp), identity))
  refused.socket.write('hello')
  await refused.closed
  const waits = AbortSignal.timeout(3 * BOUND_MS)
  await Promise.race([Promise.all(opened.map(({ closed }) => closed)), once(waits, 'abort')])
  return [
    claim(
      'a certificate that has ended opens nothing',
      refused.heard() === '',
      refused.heard().length,
    ),
    ...opened.map((one) => {
      const closedAtMs = one.closedAtMs()
      const afterMs = closedAtMs === undefined ? undefined : closedAtMs - svid.notAfterMs
      one.socket.destroy()
      return timedClaim(
        `${one.name}, opened in the certificate's last ${LAST_MOMENT_MS / 1000} s, is closed at most ${BOUND_MS / 1000} s after its end`,
        afterMs !== undefined && afterMs <= BOUND_MS + SLACK_MS,
        afterMs === undefined ? 'not closed' : `${afterMs} ms after`,
      )
    }),
  ]
}

async function openAll(at: At, identity: TlsIdentity): Promise<readonly Followed[]> {
  const open = (name: string, port: PortName, alpn?: string) =>
    follow(name, openTls(at(PORTS[port]), identity, alpn))
  const idle = open('an idle HTTP/1.1 connection', 'http', 'http/1.1')
  const websocket = open('a websocket', 'http', 'http/1.1')
  const tcp = open('a TCP connection', 'tcp')
  const sql = open('a server-first TCP connection', 'sql')
  await Promise.all([
    exchange(idle, 'GET /a HTTP/1.1\r\nHost: db.shop\r\n\r\n', 'hello'),
    exchange(websocket, `${UPGRADE}ping`, 'ping'),
    exchange(tcp, 'ping'),
    exchange(sql, 'ping'),
  ])
  const h2 = openTls(at(PORTS.grpc), identity, 'h2')
  const http2Connection = follow('an HTTP/2 connection', h2)
  const session = http2.connect('https://db.shop', { createConnection: () => h2 })
  session.on('error', () => {})
  return [idle, websocket, tcp, sql, http2Connection]
}

async function drillStreams(
  stack: Stack,
  at: At,
  identity: () => Promise<TlsIdentity>,
): Promise<readonly Claim[]> {
  const renewed = await throughRenewal(at, await identity())
  const tester = await identity()
  const path = join(stack.manifests, FILE)
  const manifest = readFileSync(path, 'utf8')
  const write = (more: string) => writeFileSync(path, `${manifest}${stack.shift(more)}`)
  const stream = new EchoStream(at(PORTS.grpc), tester)
  const websocket = follow('websocket', openTls(at(PORTS.http), tester, 'http/1.1'))
  await exchange(websocket, `${UPGRADE}ping`, 'ping')
  try {
    const denied = (call: string) => async () => (await stream.statusOf(call)) === '7'
    write(denyPath('db-other', '/shop.Echo/Other'))
    await waitFor('the other edit is in force', denied('/shop.Echo/Other'), { timeoutMs: 10_000 })
    const other = (await stream.echoes('other')) && (await exchange(websocket, 'other'))
    const watch = await stream.statusOf('/shop.Echo/Watch')
    const started = Date.now()
    write(denyPath('db-watch', '/shop.Echo/Watch'))
    await waitFor('the edit is in force', denied('/shop.Echo/Watch'), { timeoutMs: 10_000 })
    const tookMs = Date.now() - started
    const lives = await stream.echoes('lives')
    return [
      claim(
        'a gRPC stream and a websocket live through a renewal of the SVID',
        renewed,
        renewed ? 'both' : 'ended',
      ),
      claim(
        "they live through an edit that doesn't concern them",
        other && watch === '0',
        other ? 'both' : 'ended',
      ),
      timedClaim(
        'an edit that concerns the stream holds for the next request of its connection',
        tookMs <= 1000,
        `${tookMs} ms`,
      ),
      claim('the stream itself goes on, until its documented end', lives, lives ? 'open' : 'ended'),
    ]
  } finally {
    stream.close()
    websocket.socket.destroy()
  }
}

/** Opens both again and again, since they last 10 s, until a new certificate is shown while both are open. */
async function throughRenewal(at: At, identity: TlsIdentity): Promise<boolean> {
  const port = at(PORTS.http)
  const deadline = Date.now() + 2 * LIFETIME_MS
  while (Date.now() < deadline) {
    const stream = new EchoStream(at(PORTS.grpc), identity)
    const websocket = follow('websocket', openTls(port, identity, 'http/1.1'))
    try {
      if (!(await exchange(websocket, `${UPGRADE}ping`, 'ping'))) return false
      const serial = await readSerial(port)
      while (websocket.closedAtMs() === undefined && !stream.ended) {
        if ((await readSerial(port)) !== serial) {
          return (await stream.echoes('renewed')) && (await exchange(websocket, 'renewed'))
        }
        await sleep(100)
      }
    } finally {
      stream.close()
      websocket.socket.destroy()
    }
  }
  return false
}

/** HTTP with websocket, HTTP/2 streams, and TCP that greets; all send back what they get. */
async function startApps(at: At): Promise<Apps> {
  let greeted = 0
  const web = http.createServer((_, res) => res.end('hello'))
  web.on('upgrade', (_, socket) => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    )
    socket.on('error', () => {}).pipe(socket)
  })
  const grpc = http2.createServer()
  const sessions = new Set<http2.ServerHttp2Session>()
  grpc.on('session', (session) => sessions.add(session))
  grpc.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    stream.pipe(stream)
  })
  const sockets = new Set<net.Socket>()
  const tcp = net.createServer((socket) => {
    greeted += 1
    sockets.add(socket)
    socket.on('error', () => {}).write(GREETING)
    socket.pipe(socket)
  })
  const servers = [
    web.listen(at(APPS.http), '127.0.0.1'),
    grpc.listen(at(APPS.grpc), '127.0.0.1'),
    tcp.listen(at(APPS.tcp), '127.0.0.1'),
  ]
  await Promise.all(servers.map((server) => once(server, 'listening')))
  return {
    greeted: () => greeted,
    close: () => {
      web.closeAllConnections()
      for (const one of [...sessions, ...sockets]) one.destroy()
      for (const server of servers) server.close()
    },
  }
}
