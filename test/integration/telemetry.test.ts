/**
 * What an operator sees of running programs: a controller and three sidecars with their Envoys, after some traffic.
 * A scrape of each has the metrics that docs/reference/metrics.md lists and no others, with bounded labels.
 */
import t from 'tap'
import { request } from '../../demo/client.ts'
import type { Stack } from '../../demo/stack.ts'
import { onStack } from '../../drills/main.ts'
import { readTables } from '../kit/doc-tables.ts'
import { parseScrape, type Scraped, sumOf } from '../kit/scrape.ts'
import { waitFor } from '../kit/wait.ts'

/** Away from the stacks of demo, drills and e2e. */
const PORT_OFFSET = 6000
const ORDERS = 'shop/orders'

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
  for (let i = 0; i < 3; i++) await call(web, '/checkout')
  await call(webToOrders, '/orders/42')
  await call(malloryToOrders, '/orders/42')
  await call(malloryToPayments, '/charge')
}

t.test('metrics of a running stack', { timeout: 120_000 }, async (t) => {
  await onStack({ portOffset: PORT_OFFSET }, async (stack) => {
    await traffic(stack)
    const controllerPort = stack.controllerPort + 1
    await t.test('the controller', async (t) => {
      const isSettled = async () => {
        const page = await scrape(controllerPort)
        return sumOf(page, 'postern_controller_proxies_lagging') === 0
      }
      await waitFor(isSettled)
      const page = await scrape(controllerPort)
      compare(t, page, 'Controller')
      t.equal(sumOf(page, 'postern_controller_proxies_connected'), 4)
      t.equal(sumOf(page, 'postern_controller_svids_issued_total', { proof: 'token' }), 4)
      const pushes = sumOf(page, 'postern_controller_xds_pushes_total', { type: 'Listener' }) ?? 0
      t.ok(pushes >= 4, `${pushes} pushes of listeners`)
      t.equal(sumOf(page, 'postern_controller_xds_answers_total', { answer: 'nack' }), 0)
      t.ok(
        (sumOf(page, 'postern_controller_root_expiry_timestamp_seconds') ?? 0) > Date.now() / 1e3,
      )
      t.notMatch(JSON.stringify([...page.values()]), /spiffe:|shop\/|mallory/)
    })
    await t.test('a sidecar, with its Envoy', async (t) => {
      const port = stack.healthPort(ORDERS)
      const decided = async () =>
        (sumOf(await scrape(port), 'postern_decisions_total', { lane: 'rbac' }) ?? 0) >= 5
      await waitFor(decided) // Envoy’s own come by its access log, 200 ms later
      const page = await scrape(port)
      compare(t, page, 'Sidecar')
      const allowed = { policy: 'shop/orders-callers', lane: 'rbac', result: 'allow' }
      t.equal(sumOf(page, 'postern_decisions_total', allowed), 4)
      const denied = { policy: 'default', lane: 'rbac', result: 'deny' }
      t.equal(sumOf(page, 'postern_decisions_total', denied), 1)
      t.equal(sumOf(page, 'postern_xds_in_sync'), 1)
      t.equal(sumOf(page, 'postern_decisions_lost_total'), 0)
      t.ok(Math.abs(sumOf(page, 'postern_clock_offset_seconds') ?? 99) < 5)
      t.ok((sumOf(page, 'envoy_http_downstream_rq_total') ?? 0) > 0, 'Envoy’s are there')
      t.notMatch(JSON.stringify([...page.values()]), /spiffe:|\/orders\/42/)
    })
    await t.test('checks by the sidecar are timed', async (t) => {
      const page = await scrape(stack.healthPort('shop/payments'))
      const checks = sumOf(page, 'postern_check_duration_seconds_count') ?? 0
      t.ok(checks >= 4, `${checks} checks`)
      t.equal(sumOf(page, 'postern_decisions_total', { lane: 'wasm' }), checks)
    })
    return []
  })
})
