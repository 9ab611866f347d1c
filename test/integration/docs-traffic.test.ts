/**
 * The tables of docs/reference/traffic.md, each row sent to a real Envoy with the configuration that the controller
 * makes, and what the page says of TCP and PERMISSIVE beside them.
 */
import { connect as tlsConnect } from 'node:tls'
import { type Test, t } from 'tap'
import type { AuthorizationPolicySpec } from '../../controller/core/crd/index.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { openTcp, type Seen, startHttpApp, startTcpApp, talk } from '../kit/apps.ts'
import { readTables } from '../kit/doc-tables.ts'
import { startEnvoy } from '../kit/envoy.ts'
import { makeCa, makeSvid, toPem } from '../kit/identity.ts'
import { makeInput, makeMesh, makePolicy, makeWorkloadEntry } from '../kit/objects.ts'
import { freePorts } from '../kit/ports.ts'

const DAY_MS = 86_400_000
const nowMs = Date.now()
const ca = await makeCa({ nowMs: nowMs - DAY_MS })
const web = await makeSvid(ca, { serviceAccount: 'web', nowMs })
const orders = await makeSvid(ca, { serviceAccount: 'orders', nowMs })
const sections = readTables('docs/reference/traffic.md')

const ALLOW_ALL: Partial<AuthorizationPolicySpec> = { rules: [{}] }
const DENY_ALL: Partial<AuthorizationPolicySpec> = { action: 'DENY', rules: [{}] }
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** The apps behind one PERMISSIVE Envoy, where everybody may call everything. */
async function startOrders(t: Test) {
  const [http = 0, tcp = 0, out = 0, appHttp = 0, appTcp = 0] = await freePorts(5)
  const { seen } = await startHttpApp(t, appHttp)
  const app = await startTcpApp(t, appTcp)
  const inbound = [
    { name: 'http', port: http, appPort: appHttp },
    { name: 'tcp', port: tcp, appPort: appTcp, protocol: 'TCP' as const },
  ]
  const outbound = [{ port: out, service: 'orders' }]
  const snapshotOf = (spec: Partial<AuthorizationPolicySpec>, name = 'orders') => {
    const { model } = translate(
      makeInput({
        mesh: makeMesh({ mtls: { mode: 'PERMISSIVE', minTLSVersion: 'TLSv1_3' } }),
        workloadEntries: [
          makeWorkloadEntry('orders', { inbound }),
          makeWorkloadEntry('web', { outbound }),
        ],
        policies: [{ object: makePolicy('p', spec) }],
      }),
    )
    const workload = model?.workloads.get(`shop/${name}`)
    if (model === undefined || workload === undefined) throw new Error('no workload')
    return buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })
  }
  const envoy = await startEnvoy(t, orders, snapshotOf(ALLOW_ALL))
  return { http, tcp, out, app, seen, envoy, snapshotOf }
}

interface Answer {
  readonly status: number
  /** What the app saw; undefined when Envoy answered itself. */
  readonly seen: Seen | undefined
  readonly decisionId: string | undefined
}

/** Sends lines as they stand, over plaintext or as `web`. A request line is `METHOD target HTTP/1.x`. */
async function send(port: number, lines: readonly string[], asWeb = false): Promise<Answer> {
  const own = lines.find((line) => /^[A-Za-z]+ \S+ HTTP\/1\.\d$/.test(line)) ?? 'GET / HTTP/1.1'
  const headers = lines.filter((line) => line !== own)
  const host = headers.some((line) => line.startsWith('host:')) ? [] : ['host: a']
  const text = [own, ...host, ...headers, 'connection: close', '', ''].join('\r\n')
  const socket = asWeb ? openAsWeb(port) : openTcp(port)
  socket.setDefaultEncoding('latin1')
  const { heard } = await talk(socket, text, () => false)
  const [head = '', body = ''] = heard.split('\r\n\r\n')
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0),
    seen: body.startsWith('{') ? (JSON.parse(body) as Seen) : undefined,
    decisionId: /^x-postern-decision-id: (.*)$/m.exec(head)?.[1],
  }
}

function openAsWeb(port: number) {
  const key = web.key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  return tlsConnect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    cert: toPem(web.der),
    key,
    ALPNProtocols: ['postern'],
  })
}

/** The code spans of a cell; `\xHH` is a byte. */
function spans(cell: string): string[] {
  return [...cell.matchAll(/`([^`]*)`/g)].map(([, text = '']) =>
    text.replaceAll(/\\x([0-9a-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
  )
}

function rowsOf(title: string): readonly (readonly string[])[] {
  const rows = sections.find((section) => section.title === title)?.rows ?? []
  if (rows.length === 0) throw new Error(`traffic.md has no table under ${title}`)
  return rows
}

t.test('paths, as the page says', async (t) => {
  const { http } = await startOrders(t)
  for (const [sent = '', arrives = ''] of rowsOf('Paths')) {
    const [path = '', expected] = [...spans(sent), ...spans(arrives)]
    const { seen } = await send(http, [`GET ${path} HTTP/1.1`])
    t.equal(seen?.url, expected, path)
  }
  const guarded = await send(http, ['GET /%zz HTTP/1.1'])
  t.match(guarded, { status: 403, seen: undefined, decisionId: UUID }, 'guard/path')
})

t.test('what is refused before any policy, as the page says', async (t) => {
  const { http } = await startOrders(t)
  // Envoy holds each refused connection open for a second.
  const rows = rowsOf('Refused before any policy').map(async ([what = '', sent = '', status]) => {
    const answer = await send(http, spans(sent))
    t.same(answer, { status: Number(status), seen: undefined, decisionId: undefined }, what)
  })
  await Promise.all(rows)
  const many = Array.from({ length: 101 }, (_, i) => `x-${i}: 1`)
  t.match(await send(http, many), { status: 431 }, 'more than 100 headers')
  t.match(await send(http, [`x-a: ${'a'.repeat(61_440)}`]), { status: 431 }, 'more than 60 KiB')
})

t.test('headers, as the page says', async (t) => {
  const { http } = await startOrders(t)
  for (const [sent = '', gets = ''] of rowsOf('Headers')) {
    const [line = ''] = spans(sent)
    const [name = '', value] = line.split(': ')
    const { seen } = await send(http, [line])
    const got = seen?.headers[name]
    const added = Object.keys(seen?.headers ?? {}).filter((key) => key.startsWith('x-envoy-'))
    t.same(added, [], `${line}: Envoy adds nothing of its own`)
    if (gets === 'nothing' || gets.endsWith('plaintext: nothing')) t.equal(got, undefined, line)
    else if (gets === 'as sent') t.equal(got, value, line)
    else t.match(got, UUID, `${line}: ${gets}`)
  }
  const { seen } = await send(http, ['x-forwarded-client-cert: mine'], true)
  const sanitized =
    /^By=spiffe:\/\/shop\.example\/ns\/shop\/sa\/orders;Hash=[0-9a-f]{64};URI=spiffe:\/\/shop\.example\/ns\/shop\/sa\/web$/
  t.match(seen?.headers['x-forwarded-client-cert'], sanitized)
  t.match((await send(http, [])).seen?.headers['x-request-id'], UUID, 'made when absent')
  t.equal((await send(http, [])).decisionId, undefined, "not in the app's own answers")
  const bareCr = (await send(http, ['x-a: b\rx-debug: 1'])).seen?.headers
  t.match(bareCr, { 'x-a': 'bx-debug: 1', 'x-debug': undefined }, 'a bare CR is dropped')
  const empty = (await send(http, ['x-a:'])).seen?.headers
  t.equal(empty?.['x-a'], '', 'the app gets an empty header')
})

t.test('hosts, as the page says', async (t) => {
  const { http } = await startOrders(t)
  for (const [sent = '', arrives = ''] of rowsOf('Host')) {
    const { seen } = await send(http, spans(sent))
    t.equal(seen?.headers.host, spans(arrives)[0], sent)
  }
  const absolute = await send(http, ['GET http://target/x HTTP/1.1', 'host: other'])
  t.match(absolute.seen, { url: '/x', headers: { host: 'target' } })
})

t.test('upgrades: websocket passes, others do not', async (t) => {
  const { http } = await startOrders(t)
  const upgrade = (to: string) =>
    send(http, ['GET / HTTP/1.1', 'connection: upgrade', `upgrade: ${to}`])
  t.match(await upgrade('other'), { status: 403, seen: undefined, decisionId: UUID })
  const tunnel = await send(http, ['CONNECT a:80 HTTP/1.1'])
  t.match(tunnel, { status: 403, seen: undefined, decisionId: UUID })
  t.match(await upgrade('h2c'), { status: 200, seen: { version: '1.1' } })
})

t.test("outbound: the app's Host passes, its x-envoy headers steer nothing", async (t) => {
  const { http, out, seen, envoy, snapshotOf } = await startOrders(t)
  await startEnvoy(t, web, snapshotOf(ALLOW_ALL, 'web'))
  const answer = await send(out, ['GET /a HTTP/1.1', `host: 127.0.0.1:${out}`])
  t.match(answer, { status: 200, seen: { headers: { host: '127.0.0.1' } } })
  await envoy.publish(snapshotOf(DENY_ALL))
  seen.length = 0
  const retry = ['x-envoy-retry-on: retriable-status-codes', 'x-envoy-retriable-status-codes: 403']
  const denied = await send(out, [...retry, 'x-envoy-max-retries: 3'])
  t.match(denied, { status: 403, seen: undefined })
  const stats = await envoy.admin(`/stats?filter=inbound/${http}/tls.downstream_rq_4xx`)
  t.match(stats, /downstream_rq_4xx: 1\n/, 'tried once')
  t.same(seen, [])
})

t.test('TCP: the client speaks first, five bytes over plaintext', async (t) => {
  const { tcp, app } = await startOrders(t)
  const answered = await talk(openTcp(tcp), 'hello', (heard) => heard.endsWith('hello'))
  t.equal(answered.heard, 'greeting hello')
  t.equal(app.connections, 1)
  const short = talk(openTcp(tcp), 'hey', () => true)
  const silent = talk(openAsWeb(tcp), '', () => true)
  t.same(await short, { heard: '', closed: true }, 'too short to tell from TLS')
  const outcome = await Promise.race([silent, short.then(() => 'nothing yet')])
  t.equal(
    outcome,
    'nothing yet',
    'no greeting for a silent client, after the 5 s that `short` took',
  )
  t.equal(app.connections, 1, 'the app was called for neither')
})

t.test('an edit holds for the next request, not for an open TCP connection', async (t) => {
  const { http, tcp, envoy, snapshotOf } = await startOrders(t)
  const socket = openTcp(tcp)
  t.teardown(() => socket.destroy())
  const heard = new Promise<string>((resolve) => {
    let text = ''
    socket.on('data', (part) => {
      text += String(part)
      if (text === 'greeting hello') void edit()
      if (text.endsWith('again')) resolve(text)
    })
    socket.on('close', () => resolve(`${text} closed`))
  })
  const edit = async () => {
    await envoy.publish(snapshotOf(DENY_ALL))
    t.match(await send(http, []), { status: 403 })
    t.same(await talk(openTcp(tcp), 'hello', () => true), { heard: '', closed: true })
    socket.write('again')
  }
  socket.write('hello')
  t.equal(await heard, 'greeting helloagain')
})
