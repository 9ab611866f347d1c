/**
 * What an operator sees of running programs: a controller and four sidecars with their Envoys, after some traffic.
 * Metrics: a scrape of each has what docs/reference/metrics.md lists and nothing else, with bounded labels.
 * Access logs of both sides. Traces: a real OpenTelemetry collector gets one that spans three services.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { request } from '../../demo/client.ts'
import type { Stack } from '../../demo/stack.ts'
import { onStack } from '../../drills/main.ts'
import { dashboardQueries } from '../../scripts/gen-dashboard.ts'
import { type CollectedSpan, type Collector, SERVER, startCollector } from '../kit/collector.ts'
import { readTables } from '../kit/doc-tables.ts'
import { parseScrape, type Scraped, sumOf } from '../kit/scrape.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

/** Away from the stacks of demo, drills and e2e. */
const PORT_OFFSET = 6000
const ORDERS = 'shop/orders'
const SECRET = 's3cr3t-in-the-query'
const FORGED = 'a'.repeat(32)

async function scrape(port: number): Promise<ReadonlyMap<string, Scraped>> {
  return parseScrape(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
}

interface Row {
  readonly name: string
  readonly type: string
  readonly labels: readonly string[]
}

interface Assertions {
  same(found: unknown, wanted: unknown, text: string): unknown
  ok(value: boolean, text: string): unknown
}

function documented(title: string): readonly Row[] {
  const { rows = [] } = readTables('docs/reference/metrics.md').find((s) => s.title === title) ?? {}
  const words = (cell: string) => cell.match(/\w+/g) ?? []
  return rows.map(([name = '', type = '', labels = '']) => ({
    name: words(name).join(),
    type,
    labels: words(labels),
  }))
}

function compare(t: Assertions, page: ReadonlyMap<string, Scraped>, title: string): void {
  const own = [...page.values()].filter((m) => !m.name.startsWith('envoy_'))
  const rows = [...documented(title), ...documented('Both: the process')]
  const names = (list: readonly { readonly name: string; readonly type: string }[]) =>
    list.map(({ name, type }) => `${name} ${type}`).sort()
  t.same(names(own), names(rows), `${title}: what is scraped is what is documented`)
  for (const { name, labels } of documented(title)) {
    const found = new Set(page.get(name)?.samples.flatMap((s) => Object.keys(s.labels)))
    found.delete('le')
    for (const label of found) t.ok(labels.includes(label), `${name}: label ${label} is documented`)
  }
}

/** People call web, which calls orders, which calls payments; then others are refused, in each way. */
async function traffic(stack: Stack): Promise<void> {
  const { web, webToOrders, malloryToOrders, malloryToPayments } = stack.ports
  const call = (port: number, path: string) => request(port, { method: 'GET', path })
  // People are outside: a trace of theirs is not ours.
  const traceparent = `00-${FORGED}-${'b'.repeat(16)}-01`
  await request(web, { method: 'GET', path: '/', headers: [['traceparent', traceparent]] })
  for (let i = 0; i < 3; i++) await call(web, '/checkout')
  await call(webToOrders, `/orders/42?access_token=${SECRET}`)
  await call(malloryToOrders, '/orders/42')
  await call(malloryToPayments, '/charge')
}

/** The mesh's document with `spec.telemetry`. */
function withTelemetry(text: string, collector: number): string {
  const spec = `  trustDomain: shop.example
  telemetry:
    accessLog: { mode: All }
    tracing: { endpoint: '127.0.0.1:${collector}', samplingPercent: 100 }`
  return text.replace('  trustDomain: shop.example', spec)
}

t.test('a running stack', { timeout: 120_000 }, async (t) => {
  const collector = await startCollector(t)
  const accessLog = join(tempDir(t), 'access.jsonl')
  const options = {
    portOffset: PORT_OFFSET,
    edit: (text: string) => withTelemetry(text, collector.port),
    sidecarArgs: ['--access-log', accessLog],
  }
  await onStack(options, async (stack) => {
    await traffic(stack)
    await t.test('metrics of the controller', (t) => controllerMetrics(t, stack))
    await t.test('metrics of a sidecar, with its Envoy', (t) => sidecarMetrics(t, stack))
    await t.test('checks by the sidecar are timed', async (t) => {
      const page = await scrape(stack.healthPort('shop/payments'))
      const checks = sumOf(page, 'postern_check_duration_seconds_count') ?? 0
      t.ok(checks >= 4, `${checks} checks`)
      t.equal(sumOf(page, 'postern_decisions_total', { lane: 'wasm' }), checks)
    })
    await t.test('access logs', (t) => accessLogs(t, stack, accessLog))
    await t.test('traces', (t) => traces(t, stack, collector))
    return []
  })
})

type Test = Parameters<Parameters<typeof t.test>[0]>[0]

async function controllerMetrics(t: Test, stack: Stack): Promise<void> {
  const port = stack.controllerPort + 1
  await waitFor(async () => sumOf(await scrape(port), 'postern_controller_proxies_lagging') === 0)
  const page = await scrape(port)
  compare(t, page, 'Controller')
  t.equal(sumOf(page, 'postern_controller_proxies_connected'), 4)
  t.equal(sumOf(page, 'postern_controller_svids_issued_total', { proof: 'token' }), 4)
  const pushes = sumOf(page, 'postern_controller_xds_pushes_total', { type: 'Listener' }) ?? 0
  t.ok(pushes >= 4, `${pushes} pushes of listeners`)
  t.equal(sumOf(page, 'postern_controller_xds_answers_total', { answer: 'nack' }), 0)
  t.ok((sumOf(page, 'postern_controller_root_expiry_timestamp_seconds') ?? 0) > Date.now() / 1e3)
  t.notMatch(JSON.stringify([...page.values()]), /spiffe:|shop\/|mallory/)
}

async function sidecarMetrics(t: Test, stack: Stack): Promise<void> {
  const port = stack.healthPort(ORDERS)
  // Envoy’s own decisions come by its access log, 200 ms later.
  await waitFor(
    async () => (sumOf(await scrape(port), 'postern_decisions_total', { lane: 'rbac' }) ?? 0) >= 5,
  )
  const page = await scrape(port)
  compare(t, page, 'Sidecar')
  const allowed = { policy: 'shop/orders-callers', lane: 'rbac', result: 'allow' }
  t.equal(sumOf(page, 'postern_decisions_total', allowed), 4)
  const denied = { policy: 'default', lane: 'rbac', result: 'deny' }
  t.equal(sumOf(page, 'postern_decisions_total', denied), 1)
  t.equal(sumOf(page, 'postern_xds_in_sync'), 1)
  t.equal(sumOf(page, 'postern_decisions_lost_total'), 0)
  t.ok(Math.abs(sumOf(page, 'postern_clock_offset_seconds') ?? 99) < 5)
  // Envoy has histograms when it has flushed its stats, every 5 s.
  const hasTimes = async () => (await scrape(port)).has('envoy_http_downstream_rq_time')
  await waitFor(hasTimes)
  const later = await scrape(port)
  for (const name of dashboardQueries()
    .join(' ')
    .match(/\benvoy_\w+/g) ?? []) {
    const isLabel = /prefix|code_class/.test(name)
    t.ok(isLabel || later.has(name.replace(/_bucket$/, '')), `${name}, for the dashboard`)
  }
  t.notMatch(JSON.stringify([...page.values()]), /spiffe:|\/orders\/42/)
}

function linesOf(file: string): readonly Record<string, unknown>[] {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

async function accessLogs(t: Test, stack: Stack, file: string): Promise<void> {
  // That passed: while the stack started, it may have been denied.
  const find = (direction: string, workload: string, path: string) =>
    linesOf(file).find(
      (line) =>
        line.status === 200 &&
        line.direction === direction &&
        line.path === path &&
        (line.labels as { workload: string }).workload === workload,
    )
  const path = '/orders/42?access_token=[masked]'
  const inbound = await waitFor(() => find('inbound', 'orders', path))
  t.match(inbound, {
    type: 'postern.dev/access_log',
    protocol: 'HTTP/1.1',
    method: 'GET',
    status: 200,
    details: 'via_upstream',
    source: { principal: 'spiffe://shop.example/ns/shop/sa/web', address: /^127\.0\.0\.1:\d+$/ },
    destination: { principal: 'spiffe://shop.example/ns/shop/sa/orders' },
    decision: { lane: 'rbac', result: 'allow', policy: 'shop/orders-callers', rule: /rules\[0\]/ },
    decision_id: /^[0-9a-f-]{36}$/,
    trace_id: /^[0-9a-f]{32}$/,
    duration_ms: Number,
    bytes_sent: Number,
  })
  const outbound = await waitFor(() => find('outbound', 'web', path))
  t.match(outbound, {
    status: 200,
    destination: { principal: 'spiffe://shop.example/ns/shop/sa/orders' },
    trace_id: inbound.trace_id,
  })
  const charge = await waitFor(() => find('inbound', 'payments', '/charge'))
  t.match(charge.decision, { lane: 'wasm', policy: 'shop/payments-charge' })
  const denied = await waitFor(() =>
    linesOf(file).find(
      // Envoy's own: while the stack started, a sidecar may have denied, too.
      (line) => line.direction === 'inbound' && String(line.details).startsWith('rbac_'),
    ),
  )
  t.match(denied, { status: 403, decision: { result: 'deny' }, details: /^rbac_access_denied/ })
  t.notMatch(readFileSync(file, 'utf8'), SECRET)
  t.notMatch(readFileSync(stack.decisionLog(ORDERS), 'utf8'), SECRET)
}

async function traces(t: Test, stack: Stack, collector: Collector): Promise<void> {
  const services = ['orders.shop', 'payments.shop', 'web.shop']
  const isWhole = (spans: readonly CollectedSpan[]) =>
    services.every((service) => spans.some((s) => s.service === service && s.kind === SERVER)) &&
    spans.some((s) => s.name === 'postern.decide') &&
    spans.filter((span) => !spans.some((s) => s.spanId === span.parentSpanId)).length === 1
  const spans = await waitFor(() => collector.traces().find(isWhole))
  for (const span of spans) {
    const parent = spans.find(({ spanId }) => spanId === span.parentSpanId)
    const isRoot = span.service === 'web.shop' && span.kind === SERVER
    t.equal(parent !== undefined, !isRoot, `${span.service} ${span.name} has its parent`)
  }
  const serverSpan = (service: string) =>
    spans.find((s) => s.service === service && s.kind === SERVER)?.attributes
  t.match(serverSpan('web.shop'), { 'postern.rbac.rule': /web-front-door/ })
  t.match(serverSpan('orders.shop'), { 'postern.rbac.result': 'allowed' })
  t.match(serverSpan('payments.shop'), {
    'postern.policy': 'shop/payments-charge',
    'postern.result': 'allow',
  })
  const decision = spans.find((s) => s.name === 'postern.decide')
  t.match(decision, {
    service: 'payments.shop',
    attributes: { 'postern.policy': 'shop/payments-charge', 'postern.result': 'allow' },
  })
  const record = linesOf(stack.decisionLog('shop/payments')).find(
    (line) => line.decision_id === decision?.attributes['postern.decision_id'],
  )
  t.match(record, { trace_id: decision?.traceId, span_id: decision?.parentSpanId })
  t.equal(
    collector
      .traces()
      .flat()
      .filter((s) => s.traceId === FORGED).length,
    0,
  )
  const page = await scrape(stack.healthPort('shop/payments'))
  t.ok((sumOf(page, 'postern_spans_exported_total') ?? 0) >= 3)
  t.equal(sumOf(page, 'postern_spans_dropped_total'), 0)
}
