/**
 * What the resources make of real traffic: two Envoys, one before a caller, one before the apps, fed by delta ADS.
 * The decisions themselves are tested against the evaluator elsewhere; here it is what surrounds them.
 */
import { request as httpsRequest } from 'node:https'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { type Test, t } from 'tap'
import type { XdsSnapshot } from '../../common/xds.ts'
import { toXdsSnapshot } from '../../common/xds-snapshot.ts'
import type {
  AuthorizationPolicySpec,
  MeshMtls,
  MeshSvid,
} from '../../controller/core/crd/index.ts'
import type { Workload } from '../../controller/core/model/mesh.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import {
  type Answer,
  callHttp,
  callHttp2,
  keepConnection,
  openTcp,
  type Seen,
  startHttp2App,
  startHttpApp,
  startTcpApp,
  talk,
} from '../kit/apps.ts'
import { startEnvoy, type TestSvid } from '../kit/envoy.ts'
import { makeCa, makeSvid, toPem } from '../kit/identity.ts'
import { makeInput, makeMesh, makePolicy, makeWorkloadEntry } from '../kit/objects.ts'
import { freePorts } from '../kit/ports.ts'
import { waitFor } from '../kit/wait.ts'

const DAY_MS = 86_400_000
const nowMs = Date.now()
const ca = await makeCa({ nowMs: nowMs - DAY_MS })
const web = await makeSvid(ca, { serviceAccount: 'web', nowMs })
const orders = await makeSvid(ca, { serviceAccount: 'orders', nowMs })

const PORTS = [
  'http',
  'grpc',
  'tcp',
  'appHttp',
  'appGrpc',
  'appTcp',
  'toHttp',
  'toGrpc',
  'toTcp',
] as const
type Ports = Record<(typeof PORTS)[number], number>

interface Options {
  readonly policies?: readonly Partial<AuthorizationPolicySpec>[]
  readonly mtls?: Partial<MeshMtls>
  readonly svid?: MeshSvid
}

const allowWeb: Partial<AuthorizationPolicySpec> = {
  rules: [{ from: [{ source: { principals: ['shop.example/ns/shop/sa/web'] } }] }],
}
const denyAll = { action: 'DENY', rules: [{}] } as const

async function takePorts(): Promise<Ports> {
  const free = await freePorts(PORTS.length)
  return Object.fromEntries(PORTS.map((name, i) => [name, free[i] ?? 0])) as Ports
}

function buildShop(ports: Ports, options: Options = {}) {
  const { policies = [allowWeb], mtls = {}, svid = { lifetimeSeconds: 86_400 } } = options
  const inbound = [
    { name: 'http', port: ports.http, appPort: ports.appHttp },
    { name: 'grpc', port: ports.grpc, appPort: ports.appGrpc, protocol: 'GRPC' as const },
    { name: 'tcp', port: ports.tcp, appPort: ports.appTcp, protocol: 'TCP' as const },
  ]
  const outbound = [
    { port: ports.toHttp, service: 'orders', servicePort: 'http' },
    { port: ports.toGrpc, service: 'orders', servicePort: 'grpc' },
    { port: ports.toTcp, service: 'orders', servicePort: 'tcp' },
  ]
  const { model, problems } = translate(
    makeInput({
      mesh: makeMesh({ mtls: { mode: 'STRICT', minTLSVersion: 'TLSv1_3', ...mtls }, svid }),
      workloadEntries: [
        makeWorkloadEntry('web', { outbound }),
        makeWorkloadEntry('orders', { inbound }),
      ],
      policies: policies.map((spec, i) => ({
        object: makePolicy(`p${i}`, {
          targetRefs: [{ group: '', kind: 'Service', name: 'orders' }],
          ...spec,
        }),
        ...(spec.rego === undefined
          ? {}
          : { rego: { entrypoint: 'a/allow', wasmDigest: '0', data: {}, readsBody: false } }),
      })),
    }),
  )
  if (model === undefined || problems.length > 0) throw new Error(JSON.stringify(problems))
  const snapshotOf = (name: string, change: (w: Workload) => Workload = (w) => w) => {
    const workload = model.workloads.get(`shop/${name}`)
    if (workload === undefined) throw new Error(`no workload ${name}`)
    return buildSnapshot(change(workload), model.mesh, { trustBundle: [ca.root.der] })
  }
  return { orders: snapshotOf('orders'), web: snapshotOf('web'), snapshotOf }
}

/** The apps and their Envoy. */
async function startOrders(t: Test, options: Options = {}) {
  const ports = await takePorts()
  const [http, tcp] = [await startHttpApp(t, ports.appHttp), await startTcpApp(t, ports.appTcp)]
  await startHttp2App(t, ports.appGrpc)
  const shop = buildShop(ports, options)
  const envoy = await startEnvoy(t, orders, shop.orders)
  return { ports, http, tcp, envoy, shop }
}

function tlsOptions(svid: TestSvid | undefined) {
  const ours =
    svid === undefined
      ? {}
      : {
          cert: toPem(svid.der),
          key: svid.key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
        }
  return { host: '127.0.0.1', rejectUnauthorized: false, ...ours }
}

/** One request straight to the inbound port, as a process that holds `svid` could make it. */
function callMesh(
  port: number,
  svid: TestSvid | undefined,
  path: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpsRequest(
      { ...tlsOptions(svid), port, path, headers, agent: false },
      (response) => {
        let text = ''
        response.on('data', (part) => {
          text += part
        })
        response.on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            reused: false,
          })
        })
      },
    )
    asked.on('error', reject).end()
  })
}

function openMeshTcp(port: number, svid: TestSvid): TLSSocket {
  return tlsConnect({ ...tlsOptions(svid), port })
}

function seenOf(answer: Answer): Seen {
  return JSON.parse(answer.text) as Seen
}

/** A snapshot without one resource. */
function without(snapshot: XdsSnapshot, name: string): XdsSnapshot {
  const lists = [...snapshot.resources].map(
    ([type, map]) => [type, [...map.values()].filter((r) => r.name !== name)] as const,
  )
  return toXdsSnapshot(new Map(lists))
}

t.test('a call goes through both proxies in the protocol of its caller', async (t) => {
  const { ports, envoy, shop } = await startOrders(t)
  const caller = await startEnvoy(t, web, shop.web)
  const plain = await callHttp(ports.toHttp, '/a')
  t.equal(plain.status, 200)
  t.match(seenOf(plain), {
    version: '1.1',
    headers: { 'x-forwarded-client-cert': /URI=spiffe:\/\/shop.example\/ns\/shop\/sa\/web$/ },
  })
  const grpc = await callHttp2(ports.toGrpc, '/a')
  t.match([grpc.status, seenOf(grpc).version], [200, '2.0'])
  const mixed = await callHttp2(ports.toHttp, '/a')
  t.match([mixed.status, seenOf(mixed).version], [200, '1.1'], 'an HTTP/1.1 app behind HTTP/2')
  const tcp = await talk(openTcp(ports.toTcp), 'hello', (heard) => heard.endsWith('hello'))
  t.equal(tcp.heard, 'greeting hello')
  const upgraded = await talk(
    openTcp(ports.toHttp),
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping',
    (heard) => heard.endsWith('ping'),
  )
  t.match(upgraded.heard, /^HTTP\/1.1 101 [\s\S]*ping$/, 'websocket')
  t.same([...envoy.nacks, ...caller.nacks], [])
  const stats = await envoy.admin('/stats?filter=inbound.*downstream_cx_http[12]_total')
  t.match(stats, new RegExp(`inbound/${ports.http}/tls.downstream_cx_http2_total: [1-9]`))
  t.match(stats, new RegExp(`inbound/${ports.http}/tls.downstream_cx_http1_total: [1-9]`))
})

t.test('a server of another identity gets nothing', async (t) => {
  const { ports, http, tcp, shop } = await startOrders(t)
  const pinned = (ids: readonly string[]) =>
    shop.snapshotOf('web', (w) => ({
      ...w,
      outbound: w.outbound.map((port) => ({ ...port, serverIds: ids })),
    }))
  const caller = await startEnvoy(t, web, pinned(['spiffe://shop.example/ns/shop/sa/other']))
  t.equal((await callHttp(ports.toHttp, '/a')).status, 503)
  t.same(await talk(openTcp(ports.toTcp), 'hello', () => true), { heard: '', closed: true })
  await caller.publish(pinned([]))
  t.equal((await callHttp(ports.toHttp, '/a')).status, 503)
  t.same([http.seen, tcp.connections], [[], 0])
  await caller.publish(shop.web)
  t.equal((await callHttp(ports.toHttp, '/a')).status, 200)
})

t.test('a destination that changes there and back keeps its endpoints', async (t) => {
  const { ports, shop } = await startOrders(t)
  const caller = await startEnvoy(t, web, shop.web)
  const other = shop.snapshotOf('web', (w) => ({
    ...w,
    outbound: w.outbound.map((port) => ({
      ...port,
      serverIds: [...port.serverIds, 'spiffe://shop.example/ns/shop/sa/other'],
    })),
  }))
  const answers: number[] = []
  let isGoing = true
  const calling = (async () => {
    while (isGoing) answers.push((await callHttp(ports.toHttp, '/a')).status)
  })()
  for (let i = 0; i < 20; i++) await Promise.all([caller.publish(other), caller.publish(shop.web)])
  isGoing = false
  await calling
  t.same([...new Set(answers)], [200], `${answers.length} calls`)
  const timeouts = await caller.admin('/stats?filter=init_fetch_timeout')
  t.notMatch(timeouts, /init_fetch_timeout: [1-9]/, 'none waited for its endpoints in vain')
})

t.test('who is not of the mesh gets no answer', async (t) => {
  const { ports, http, tcp } = await startOrders(t, { policies: [{ rules: [{}] }] })
  const otherCa = await makeCa()
  const otherDomain = await makeCa({ trustDomain: 'bank.example' })
  const strangers = {
    'no certificate': undefined,
    'another CA': await makeSvid(otherCa, { serviceAccount: 'web' }),
    'another trust domain': await makeSvid(otherDomain, { serviceAccount: 'web' }),
    expired: await makeSvid(ca, { serviceAccount: 'web' }),
  }
  for (const [name, svid] of Object.entries(strangers)) {
    await t.rejects(callMesh(ports.http, svid, '/a'), name)
    await t.rejects(callMesh(ports.grpc, svid, '/a'), name)
  }
  await t.rejects(callHttp(ports.http, '/a'), 'plaintext under STRICT')
  t.match(await talk(openTcp(ports.tcp), 'hello', () => true), { heard: '', closed: true })
  t.same([http.seen, tcp.connections], [[], 0])
  t.equal((await callMesh(ports.http, web, '/a')).status, 200)
})

t.test('what a client says about itself does not arrive', async (t) => {
  const { ports, envoy } = await startOrders(t)
  const forged = {
    'x-forwarded-client-cert': 'URI=spiffe://shop.example/ns/shop/sa/admin',
    'x-postern-decision-id': 'mine',
    'x-postern-other': 'mine',
    'x-envoy-retry-on': '5xx',
    'x-envoy-max-retries': '50',
    'x-envoy-auth-failure-mode-allowed': 'true',
    'x-request-id': 'kept',
  }
  const answer = await callMesh(ports.http, web, '/a', forged)
  const { headers } = seenOf(answer)
  t.match(headers['x-forwarded-client-cert'], /URI=spiffe:\/\/shop.example\/ns\/shop\/sa\/web$/)
  t.notMatch(headers['x-forwarded-client-cert'], /admin/)
  t.match(headers['x-postern-decision-id'], /^[0-9a-f-]{36}$/)
  t.equal(headers['x-request-id'], 'kept')
  const reserved = Object.keys(headers).filter((name) => /^x-(envoy|postern)-/.test(name))
  t.same(reserved, ['x-postern-decision-id'])
  const entry = await waitFor(() => envoy.httpLog[0], { what: 'an entry in the access log' })
  t.equal(
    entry.request?.requestHeaders['x-postern-decision-id'],
    headers['x-postern-decision-id'],
    'the log names the same decision',
  )
})

t.test('a path and a host come in one form', async (t) => {
  const { ports } = await startOrders(t)
  for (const path of ['/x/../admin', '/%61dmin', '//admin', '/./admin', '/x%2f..%2fadmin']) {
    const answer = await callMesh(ports.http, web, path)
    if (answer.status === 307) t.equal(answer.headers.location, '/admin', path)
    else t.equal(seenOf(answer).url, '/admin', path)
  }
  const answer = await callMesh(ports.http, web, '/a', { host: 'orders.shop.:8080' })
  t.equal(seenOf(answer).headers.host, 'orders.shop')
  t.equal((await callMesh(ports.http, web, '/a', { x_user: 'admin' })).status, 400)
})

t.test('a denial names its decision and its rule', async (t) => {
  const { ports, envoy, http } = await startOrders(t, { policies: [allowWeb, denyAll] })
  const answer = await callMesh(ports.http, web, '/a')
  t.equal(answer.status, 403)
  t.match(answer.headers['x-postern-decision-id'], /^[0-9a-f-]{36}$/)
  const entry = await waitFor(() => envoy.httpLog[0], { what: 'an entry in the access log' })
  t.match(
    entry.response?.responseCodeDetails,
    'rbac_access_denied_matched_policy[shop/p1/rules[0]]',
  )
  t.equal(
    entry.request?.requestHeaders['x-postern-decision-id'],
    answer.headers['x-postern-decision-id'],
  )
  t.same(http.seen, [])
})

t.test('a change of rules holds for the next request of an open connection', async (t) => {
  const { ports, envoy, shop } = await startOrders(t)
  const caller = await startEnvoy(t, web, shop.web)
  const agent = keepConnection(t)
  t.match(await callHttp(ports.toHttp, '/a', { agent }), { status: 200 })
  const connections = async () =>
    /downstream_cx_total: (\d+)/.exec(
      await envoy.admin(`/stats?filter=inbound/${ports.http}/tls.downstream_cx_total`),
    )?.[1]
  const before = await connections()
  await envoy.publish(buildShop(ports, { policies: [allowWeb, denyAll] }).orders)
  t.match(await callHttp(ports.toHttp, '/a', { agent }), { status: 403, reused: true })
  await envoy.publish(shop.orders)
  t.match(await callHttp(ports.toHttp, '/a', { agent }), { status: 200, reused: true })
  t.equal(await connections(), before, 'the mesh connection is the same')
  t.same([...caller.nacks, ...envoy.nacks], [])
})

t.test('nothing passes on an HTTP port that has lost its configuration', async (t) => {
  const { ports, envoy, shop, http } = await startOrders(t)
  await startEnvoy(t, web, shop.web)
  const agent = keepConnection(t)
  t.match(await callHttp(ports.toHttp, '/a', { agent }), { status: 200 })
  http.seen.length = 0
  await envoy.publish(without(shop.orders, `authz/${ports.http}/tls`))
  t.match(await callHttp(ports.toHttp, '/a', { agent }), { status: 403, reused: true })
  t.same(http.seen, [])
})

const onPath = (path: string) => ({ rules: [{ to: [{ operation: { paths: [path] } }] }] })
const rego = { module: '', entrypoint: 'a/allow', regoVersion: 'V1' as const }

t.test(
  'rules alone, rules with Rego, and back: the next request of an open connection',
  async (t) => {
    const { ports, envoy, shop, http } = await startOrders(t)
    const caller = await startEnvoy(t, web, shop.web)
    const mixed = buildShop(ports, { policies: [onPath('/rules'), { ...onPath('/rego'), rego }] })
    const agent = keepConnection(t)
    const statuses = async () => [
      (await callHttp(ports.toHttp, '/rules', { agent })).status,
      (await callHttp(ports.toHttp, '/other', { agent })).status,
      (await callHttp2(ports.toGrpc, '/rules')).status,
      (await callHttp2(ports.toGrpc, '/other')).status,
    ]
    const upgrade = (path: string) =>
      talk(
        openTcp(ports.toHttp),
        `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping`,
        (heard) => heard.endsWith('ping') || heard.includes(' 503 '),
      )
    t.same(await statuses(), [200, 200, 200, 200])
    for (let round = 0; round < 3; round++) {
      http.seen.length = 0
      await envoy.publish(mixed.orders)
      t.match((await upgrade('/rules')).heard, /^HTTP\/1.1 101 [\s\S]*ping$/, 'a websocket')
      t.match((await upgrade('/other')).heard, /^HTTP\/1.1 503 /)
      http.seen.length = 0
      // Nobody answers the call: what is not decided by a rule fails, and reaches no app.
      t.same(await statuses(), [200, 503, 200, 503])
      t.same(
        http.seen.map(({ url }) => url),
        ['/rules'],
      )
      await envoy.publish(shop.orders)
      t.same(await statuses(), [200, 200, 200, 200])
    }
    t.same([...envoy.nacks, ...caller.nacks], [])
  },
)

t.test('while rules with Rego and a DENY of all change places, nothing gets through', async (t) => {
  const { ports, envoy, http } = await startOrders(t, { policies: [denyAll] })
  const other = buildShop(ports, { policies: [{ ...onPath('/rego'), rego }] })
  const denying = buildShop(ports, { policies: [denyAll] })
  const statuses = new Map<number, number>()
  let isGoing = true
  const calling = Array.from({ length: 4 }, async () => {
    while (isGoing) {
      const { status } = await callMesh(ports.http, web, '/rego')
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  })
  for (let i = 0; i < 15; i++) {
    await envoy.publish(other.orders)
    await envoy.publish(denying.orders)
  }
  isGoing = false
  await Promise.all(calling)
  t.same(http.seen, [], JSON.stringify([...statuses]))
  t.same(
    [...statuses.keys()].filter((s) => s !== 403 && s !== 503),
    [],
  )
  t.same(envoy.nacks, [])
})

t.test('nothing passes on a TCP port that has lost its configuration', async (t) => {
  const { ports, envoy, shop, tcp } = await startOrders(t)
  await envoy.publish(without(shop.orders, `rbac/${ports.tcp}/tls`))
  t.same(await talk(openMeshTcp(ports.tcp, web), 'hello', () => true), { heard: '', closed: true })
  t.equal(tcp.connections, 0)
})

t.test('a denied TCP client is closed, not greeted, and logged', async (t) => {
  const { ports, envoy, tcp } = await startOrders(t)
  const stranger = await makeSvid(ca, { serviceAccount: 'stranger', nowMs })
  t.same(await talk(openMeshTcp(ports.tcp, stranger), 'hello', () => true), {
    heard: '',
    closed: true,
  })
  t.equal(tcp.connections, 0, 'the app was not called')
  const entry = await waitFor(() => envoy.tcpLog[0], { what: 'an entry in the access log' })
  t.match(entry.commonProperties?.connectionTerminationDetails, /^rbac_access_denied/)
  t.match(entry.commonProperties?.tlsProperties?.peerCertificateProperties?.subjectAltName, [
    { san: { value: 'spiffe://shop.example/ns/shop/sa/stranger' } },
  ])
  const allowed = await talk(openMeshTcp(ports.tcp, web), 'hello', (h) => h.endsWith('hello'))
  t.equal(allowed.heard, 'greeting hello')
})

t.test('what Envoy cannot decide waits for the sidecar, and fails without it', async (t) => {
  const policies = [onPath('/rules'), { ...onPath('/rego'), rego }]
  const { ports, http } = await startOrders(t, { policies })
  t.equal((await callMesh(ports.http, web, '/rules')).status, 200, 'a rule allows: no call')
  t.equal((await callMesh(ports.http, web, '/rego')).status, 503, 'no sidecar: closed')
  t.equal((await callMesh(ports.http, web, '/other')).status, 503, 'no sidecar: closed')
  t.equal(http.seen.length, 1)
})

t.test('no call fails while the identities of a service change', async (t) => {
  const { ports, shop } = await startOrders(t)
  const caller = await startEnvoy(t, web, shop.web)
  const answers: number[] = []
  let going = true
  const calling = (async () => {
    while (going) answers.push((await callHttp(ports.toHttp, '/a')).status)
  })()
  for (const other of ['a', 'b', 'c']) {
    const started = performance.now()
    await caller.publish(
      shop.snapshotOf('web', (w) => ({
        ...w,
        outbound: w.outbound.map((port) => ({
          ...port,
          serverIds: [`spiffe://shop.example/ns/shop/sa/${other}`, ...port.serverIds],
        })),
      })),
    )
    t.ok(performance.now() - started < 5000, 'the cluster does not wait for its endpoints')
  }
  going = false
  await calling
  t.ok(answers.length > 0)
  t.same(
    answers.filter((status) => status !== 200),
    [],
  )
})

t.test('nothing outlives the certificates: not a websocket, not a TCP connection', async (t) => {
  const { ports, shop } = await startOrders(t, { svid: { lifetimeSeconds: 2 } })
  await startEnvoy(t, web, shop.web)
  const upgrade =
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping'
  const talks = await Promise.all([
    talk(openTcp(ports.toHttp), upgrade, () => false),
    talk(openTcp(ports.toTcp), 'ping', () => false),
  ])
  t.match(talks, [
    { heard: /ping/, closed: true },
    { heard: /ping/, closed: true },
  ])
})

t.test('from PERMISSIVE to STRICT: mesh connections stay, plaintext ends at once', async (t) => {
  const allowAll = { policies: [{ rules: [{}] }] }
  const { ports, envoy, shop, http } = await startOrders(t, {
    ...allowAll,
    mtls: { mode: 'PERMISSIVE' },
  })
  await startEnvoy(t, web, shop.web)
  const [mesh, plain] = [keepConnection(t), keepConnection(t)]
  t.match(await callHttp(ports.toHttp, '/a', { agent: mesh }), { status: 200 })
  const first = await callHttp(ports.http, '/a', {
    agent: plain,
    headers: { 'x-forwarded-client-cert': 'me' },
  })
  t.match(first, { status: 200 })
  t.notOk('x-forwarded-client-cert' in seenOf(first).headers)
  const tlsConnections = () =>
    envoy.admin(`/stats?filter=inbound/${ports.http}/tls.downstream_cx_(total|active)`)
  const before = await tlsConnections()
  http.seen.length = 0

  await envoy.publish(buildShop(ports, allowAll).orders)
  const second = await callHttp(ports.http, '/a', { agent: plain }).then(
    (answer) => answer.status,
    () => 'closed',
  )
  t.ok(second === 'closed' || second === 403, `an open plaintext connection: ${second}`)
  await t.rejects(callHttp(ports.http, '/a'), 'a new plaintext connection')
  t.same(http.seen, [], 'nothing reached the app')
  t.match(await callHttp(ports.toHttp, '/a', { agent: mesh }), { status: 200, reused: true })
  t.equal(await tlsConnections(), before, 'the mesh connection is the same')
  t.same(envoy.nacks, [])
})
