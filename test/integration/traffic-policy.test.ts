/**
 * What a BackendTrafficPolicy makes of real traffic: a caller's Envoy, the service's Envoy, an app that is slow, broken
 * or both. Envoys are started once; each case publishes its policy, so changes at run time are tested too.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { connect as http2Connect } from 'node:http2'
import { connect } from 'node:net'
import { type Test, t } from 'tap'
import type { BackendTrafficPolicySpec } from '../../controller/core/crd/index.ts'
import type { Endpoint } from '../../controller/core/model/mesh.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { openTcp, talk } from '../kit/apps.ts'
import { startEnvoy } from '../kit/envoy.ts'
import { makeCa, makeSvid } from '../kit/identity.ts'
import {
  makeInput,
  makePolicy,
  makeRetries,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../kit/objects.ts'
import { freePorts } from '../kit/ports.ts'
import { startProcess } from '../kit/process.ts'
import { waitFor } from '../kit/wait.ts'

const ca = await makeCa({ nowMs: Date.now() - 86_400_000 })
const web = await makeSvid(ca, { serviceAccount: 'web', nowMs: Date.now() })
const orders = await makeSvid(ca, { serviceAccount: 'orders', nowMs: Date.now() })

type Spec = Partial<BackendTrafficPolicySpec>
const [first = 0, second = 0, appFirst = 0, appSecond = 0, out = 0, blackhole = 0] =
  await freePorts(6)
const at = (port: number): Endpoint => ({ address: '127.0.0.1', port, mtls: 'STRICT' })
const BOTH = [first, second].map(at)

/** Two ports that play two endpoints of one service. `/denied` is denied by a rule, `/undecided` by nobody's answer. */
function buildSnapshots(spec: Spec | undefined, endpoints: readonly Endpoint[] = BOTH.slice(0, 1)) {
  const onPath = (path: string) => ({ rules: [{ to: [{ operation: { paths: [path] } }] }] })
  const rego = { module: '', entrypoint: 'a/allow', regoVersion: 'V1' as const }
  const compiled = { entrypoint: 'a/allow', wasmDigest: '0', data: {}, readsBody: false }
  const inbound = [
    { name: 'http', port: first, appPort: appFirst },
    { name: 'other', port: second, appPort: appSecond },
  ]
  const { model, problems } = translate(
    makeInput({
      workloadEntries: [
        makeWorkloadEntry('web', { outbound: [{ port: out, service: 'orders' }] }),
        makeWorkloadEntry('orders', { inbound }),
      ],
      policies: [
        { object: makePolicy('deny', { action: 'DENY', ...onPath('/denied') }) },
        {
          object: makePolicy('allow', { rules: [{ to: [{ operation: { paths: ['/app/*'] } }] }] }),
        },
        { object: makePolicy('rego', { ...onPath('/undecided'), rego }), rego: compiled },
      ],
      backendTrafficPolicies: spec === undefined ? [] : [makeTrafficPolicy('p', spec)],
    }),
  )
  if (model === undefined || problems.length > 0) throw new Error(JSON.stringify(problems))
  const snapshotOf = (name: string) => {
    const workload = model.workloads.get(`shop/${name}`)
    if (workload === undefined) throw new Error(`no workload ${name}`)
    const outbound = workload.outbound.map((port) => ({ ...port, endpoints }))
    return buildSnapshot({ ...workload, outbound }, model.mesh, { trustBundle: [ca.root.der] })
  }
  return { web: snapshotOf('web'), orders: snapshotOf('orders') }
}

type Handler = (req: IncomingMessage, res: ServerResponse, hit: number) => void

/** An app whose behaviour a case sets; `hits` are the requests that reached it since. */
async function startApp(t: Test, port: number) {
  const app = { hits: [] as string[], handler: ((_, res) => res.end('ok')) as Handler }
  const server = createServer({ maxHeaderSize: 200_000 }, (req, res) => {
    app.hits.push(`${req.method} ${req.url}`)
    app.handler(req, res, app.hits.length)
  })
  server.on('upgrade', (_, socket) => {
    socket.on('error', () => {})
    socket.write('HTTP/1.1 101 Upgraded\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    socket.pipe(socket)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    app,
    behave(handler: Handler) {
      app.hits.length = 0
      app.handler = handler
    },
  }
}

interface Ask {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly chunks?: readonly (string | Buffer)[]
}

async function call(path: string, { method = 'GET', headers = {}, chunks = [] }: Ask = {}) {
  const asked = request({ host: '127.0.0.1', port: out, path, method, headers, agent: false })
  for (const chunk of chunks) asked.write(chunk)
  asked.on('error', () => {}).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  response.resume()
  await once(response, 'end')
  return { status: response.statusCode, headers: response.headers }
}

const { app, behave } = await startApp(t, appFirst)
const other = await startApp(t, appSecond)
const plain = buildSnapshots(undefined)
const server = await startEnvoy(t, orders, plain.orders)
const caller = await startEnvoy(t, web, plain.web)

/** Publishes a policy to both ends. */
async function apply(spec: Spec | undefined, endpoints?: readonly Endpoint[]): Promise<void> {
  const snapshots = buildSnapshots(spec, endpoints)
  await server.publish(snapshots.orders)
  await caller.publish(snapshots.web)
}

/** A limit holds for new connections; an open one closes after its next answer. */
function eventually(status: number, ask: () => ReturnType<typeof call>): Promise<boolean> {
  return waitFor(async () => (await ask()).status === status)
}

async function counter(envoy: typeof caller, name: string): Promise<number> {
  const text = await envoy.admin(`/stats?filter=${name}$`)
  return Number(/: (\d+)/.exec(text)?.[1] ?? Number.NaN)
}

const flaky: Handler = (_, res, hit) => {
  res.statusCode = hit === 1 ? 503 : 200
  res.end()
}
const flakyReset: Handler = (_, res, hit) => (hit === 1 ? res.destroy() : res.end('ok'))
const silent: Handler = () => {}

t.test('without a policy: no timeout steers, nothing that arrived is tried again', async (t) => {
  behave(flaky)
  t.equal((await call('/app/a')).status, 503)
  t.same(app.hits, ['GET /app/a'])
})

t.test('a slow backend: 504 after the request timeout', async (t) => {
  await apply({ timeouts: { request: '200ms' } })
  behave(silent)
  t.equal((await call('/app/slow')).status, 504)
  t.same(app.hits, ['GET /app/slow'])
})

t.test('a slow try is given up and made again', async (t) => {
  await apply({ retries: makeRetries({ perTryTimeout: '300ms' }) })
  behave((_, res, hit) => (hit === 1 ? undefined : res.end('ok')))
  t.equal((await call('/app/slow')).status, 200)
  t.same(app.hits, ['GET /app/slow', 'GET /app/slow'])
  behave(silent)
  t.equal((await call('/app/slow', { method: 'POST' })).status, 504)
  t.same(app.hits, ['POST /app/slow'], 'a POST is not made again')
})

t.test('an endpoint that does not accept: 503 after the connect timeout', async (t) => {
  await fillBacklog(t)
  const endpoints = [at(blackhole)]
  const retries = makeRetries({ attempts: 0 })
  await apply({ timeouts: { connect: '100ms', request: '1500ms' }, retries }, endpoints)
  const name = 'outbound/shop/orders/http.upstream_cx_connect_timeout'
  const before = await counter(caller, name)
  t.equal((await call('/app/a')).status, 503, 'the default of 2 s would have met the 1.5 s: 504')
  t.equal((await counter(caller, name)) - before, 1)
})

/** A listener that no longer accepts, with as many connections in its queue as it takes. */
async function fillBacklog(t: Test): Promise<void> {
  const script = `require('net').createServer().listen({port:${blackhole},host:'127.0.0.1',backlog:1},()=>console.log('up'))`
  const child = startProcess(t, process.execPath, ['-e', script])
  const open = () => {
    const socket = connect(blackhole, '127.0.0.1')
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    return socket
  }
  await waitFor(
    () =>
      new Promise<boolean>((resolve) => {
        const socket = open()
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      }),
    { what: 'the listener' },
  )
  child.kill('SIGSTOP')
  t.teardown(() => child.kill('SIGCONT'))
  // A connection that is still not made when a later one isn't either: the queue is full.
  for (let i = 0; i < 4; i++) open()
}

t.test('503 and reset: tried again for GET, not for POST', async (t) => {
  await apply({ retries: makeRetries() })
  for (const [name, handler] of Object.entries({ flaky, flakyReset })) {
    behave(handler)
    t.equal((await call('/app/a')).status, 200, name)
    t.equal(app.hits.length, 2, name)
    behave(handler)
    t.equal((await call('/app/a', { method: 'POST', chunks: ['x'] })).status, 503, name)
    t.equal(app.hits.length, 1, name)
  }
  await apply({ retries: makeRetries({ methods: ['POST'], attempts: 1 }) })
  behave(flaky)
  t.equal((await call('/app/a', { method: 'POST', chunks: ['x'] })).status, 200, 'if it says so')
  behave(flaky)
  t.equal((await call('/app/a')).status, 503, 'and then GET is not')
})

t.test('what a policy denied, or could not decide, is never tried again', async (t) => {
  const statusCodes = [500, 501, 502, 503, 504]
  await apply({
    retries: makeRetries({ attempts: 5, statusCodes, retryOn: ['Reset', 'Unavailable'] }),
  })
  behave((_, res) => res.end('ok'))
  const sent = () => counter(caller, 'outbound/shop/orders/http.upstream_rq_total')
  for (const [path, status] of [
    ['/denied', 403],
    ['/other', 503],
    ['/undecided', 503],
  ] as const) {
    const before = await sent()
    const answer = await call(path)
    t.equal(answer.status, status, path)
    t.match(answer.headers['x-postern-decision-id'], /^[0-9a-f-]{36}$/, path)
    t.equal(answer.headers['x-envoy-ratelimited'], undefined, 'our mark stays between proxies')
    t.equal((await sent()) - before, 1, path)
  }
  t.same(app.hits, [])
})

t.test('what an app says in reserved headers steers nothing and does not arrive', async (t) => {
  await apply({ retries: makeRetries({ attempts: 1 }) })
  let seen: IncomingMessage['headers'] = {}
  behave((req, res) => {
    seen = req.headers
    res.statusCode = 503
    res.end()
  })
  const headers = {
    'x-envoy-max-retries': '9',
    'x-envoy-retry-on': '5xx,gateway-error,retriable-4xx',
    'x-envoy-retry-grpc-on': 'unavailable',
    'x-envoy-hedge-on-per-try-timeout': 'true',
    'x-envoy-retriable-status-codes': '403,503',
    'x-envoy-upstream-alt-stat-name': 'mine',
    'x-envoy-expected-rq-timeout-ms': '1',
    'x-envoy-decorator-operation': 'mine',
    'x-envoy-original-dst-host': '127.0.0.1:1',
    'x-postern-anything': 'mine',
    'x-forwarded-client-cert': 'By=me;URI=spiffe://shop.example/ns/shop/sa/admin',
  }
  t.equal((await call('/app/a', { headers })).status, 503)
  t.equal(app.hits.length, 2, 'as the policy says')
  t.same(
    Object.keys(seen).filter((name) => /^x-(envoy|postern)-/.test(name)),
    ['x-postern-decision-id'],
  )
  t.match(seen['x-forwarded-client-cert'], /URI=spiffe:\/\/shop.example\/ns\/shop\/sa\/web$/)
  behave((_, res) => setTimeout(() => res.end('ok'), 100))
  const timeouts = {
    'x-envoy-upstream-rq-timeout-ms': '1',
    'x-envoy-upstream-rq-per-try-timeout-ms': '1',
    'x-envoy-upstream-stream-duration-ms': '1',
  }
  t.equal((await call('/app/a', { headers: timeouts })).status, 200)
})

t.test('circuit breaking: what is too much is answered at once', async (t) => {
  await apply({ circuitBreaking: { maxRequests: 1 } })
  const held: ServerResponse[] = []
  behave((_, res) => held.push(res))
  const one = call('/app/one')
  await waitFor(() => held[0], { what: 'the first request' })
  t.equal((await call('/app/two')).status, 503)
  t.same(app.hits, ['GET /app/one'], 'the second never left')
  held[0]?.end('ok')
  t.equal((await one).status, 200)
})

t.test('an endpoint that keeps failing is left out', async (t) => {
  const outlierDetection = {
    consecutiveGatewayErrors: 2,
    consecutive5xxErrors: 0,
    interval: '10s',
    baseEjectionTime: '1h',
    maxEjectionPercent: 50,
  }
  await apply({ outlierDetection, retries: makeRetries({ attempts: 0 }) }, BOTH)
  behave((_, res) => res.end('ok'))
  other.behave((_, res) => {
    res.statusCode = 503
    res.end()
  })
  const active = 'outbound/shop/orders/http.outlier_detection.ejections_active'
  await waitFor(async () => {
    await call('/app/a')
    return (await counter(caller, active)) === 1
  })
  const failed = other.app.hits.length
  for (let i = 0; i < 20; i++) t.equal((await call('/app/a')).status, 200)
  t.equal(other.app.hits.length, failed)
  await apply({ outlierDetection }, BOTH.slice(1))
  t.equal((await call('/app/a')).status, 503)
  t.equal(other.app.hits.length, failed + 1, 'more than maxEjectionPercent are never out')
})

t.test('a body that is too large: 413, and the app is not called', async (t) => {
  await apply({ limits: { maxRequestBodyBytes: 100 } })
  let body = 0
  behave((req, res) => {
    body = 0
    req.on('data', (part) => {
      body += part.length
    })
    req.on('end', () => res.end('ok'))
  })
  const post = (chunks: readonly Buffer[], headers = {}) =>
    call('/app/a', { method: 'POST', chunks, headers })
  const [fits, over] = [Buffer.alloc(100), Buffer.alloc(101)]
  t.ok(await eventually(413, () => post([over], { 'content-length': '101' })))
  t.equal((await post([fits], { 'content-length': '100' })).status, 200)
  t.equal((await post([fits.subarray(50), fits.subarray(50)])).status, 200, 'chunked')
  t.equal(body, 100)
  t.equal((await call('/app/a')).status, 200, 'no body')
  app.hits.length = 0
  t.equal((await post([over], { 'content-length': '101' })).status, 413)
  t.equal((await post([fits, fits])).status, 413, 'chunked')
  t.same(app.hits, [])
  t.equal((await call('/denied', { method: 'POST', chunks: [over] })).status, 403, 'denied first')
  t.equal(await sendHttp2(undefined), 413, 'HTTP/2 without a length')
  t.equal(await sendHttp2('1000'), 413)
  t.same(app.hits, [])
  for (const length of ['1', '100']) {
    await sendHttp2(length)
    t.ok(body <= 100, `HTTP/2 with ${length} for a length`)
  }
})

/** Sends 1,000 bytes, whatever it announces. */
async function sendHttp2(length: string | undefined): Promise<number> {
  const session = http2Connect(`http://127.0.0.1:${out}`)
  session.on('error', () => {})
  const headers = length === undefined ? {} : { 'content-length': length }
  const stream = session.request({ ':path': '/app/a', ':method': 'POST', ...headers })
  const status = new Promise<number>((resolve) => {
    stream.on('response', (head) => resolve(Number(head[':status'])))
    stream.on('error', () => resolve(0)).on('close', () => resolve(0))
  })
  stream.end(Buffer.alloc(1000))
  return status.finally(() => session.destroy())
}

t.test('a websocket passes the body limit, an upgrade with a body does not', async (t) => {
  const upgrade = (...more: readonly string[]) =>
    [
      'GET /app/ws HTTP/1.1',
      'Host: a',
      'Connection: Upgrade',
      'Upgrade: websocket',
      ...more,
      '',
      'x'.repeat(300),
    ].join('\r\n')
  const websocket = await talk(openTcp(out), upgrade(), (heard) => heard.endsWith('x'.repeat(300)))
  t.match(websocket.heard, /^HTTP\/1.1 101 [\s\S]*x{300}$/)
  const withBody = await talk(openTcp(out), upgrade('Content-Length: 300'), () => true)
  t.match(withBody.heard, /^HTTP\/1.1 413 /)
})

t.test('headers that are too large: 431; and a service may take more', async (t) => {
  await apply({ limits: { maxRequestHeaderBytes: 8192 } })
  behave((_, res) => res.end('ok'))
  const withHeaders = (kib: number) => {
    const headers = Object.fromEntries(
      Array.from({ length: kib }, (_, i) => [`x-${i}`, 'a'.repeat(1000)]),
    )
    return call('/app/a', { headers })
  }
  t.ok(await eventually(431, () => withHeaders(10)))
  t.equal((await withHeaders(6)).status, 200)
  behave((_, res) => res.end('ok'))
  t.equal((await withHeaders(10)).status, 431)
  t.same(app.hits, [])
  await apply(undefined)
  t.ok(await eventually(200, () => withHeaders(10)))
  t.equal((await withHeaders(70)).status, 431)
  await apply({ limits: { maxRequestHeaderBytes: 98_304 } })
  t.ok(await eventually(200, () => withHeaders(70)))
})

t.test('nothing was refused by Envoy', async (t) => {
  t.same([...server.nacks, ...caller.nacks], [])
})
