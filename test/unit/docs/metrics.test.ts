/** docs/reference/metrics.md and a scrape of either program have the same metrics: name, type, labels. */
import t from 'tap'
import { HealthServer as ControllerHealth } from '../../../controller/adapters/http/health.ts'
import { type MetricsInput, toMetrics } from '../../../controller/runtime/metrics.ts'
import { HealthServer as SidecarHealth } from '../../../sidecar/adapters/http/health.ts'
import { readTables } from '../../kit/doc-tables.ts'

interface Metric {
  readonly name: string
  readonly type: string
  readonly labels: readonly string[]
}

const NOW_MS = 1_800_000_000_000

/** Everything has a value, so every row is printed. */
const CONTROLLER = {
  figures: { passes: 2, failures: 1, lastDurationMs: 5, totalDurationMs: 9, lastGoodMs: NOW_MS },
  view: {
    problems: [],
    inForce: new Map(),
    settlement: { pending: new Set() },
    publication: { snapshots: new Map() },
    publishedAtMs: NOW_MS,
    // Only what the metrics read; a field that they read anew fails here.
  } as unknown as NonNullable<MetricsInput['view']>,
  proxies: [],
  nowMs: NOW_MS,
} satisfies MetricsInput

const SIDECAR = {
  ready: true,
  detail: '',
  identity: { spiffeId: 'spiffe://shop.example/ns/shop/sa/web', notAfterMs: NOW_MS },
  controllerConnected: true,
  envoyRestarts: 1,
  enforcedGeneration: 'abc',
  bundleRevision: 'def',
  decisionsLost: 0,
  decisionLogGaps: 0,
}

t.test('the controller', async (t) => {
  const server = new ControllerHealth({
    host: '127.0.0.1',
    port: 0,
    whyNotReady: () => undefined,
    metrics: () => toMetrics(CONTROLLER),
  })
  await server.start()
  t.teardown(() => server.stop())
  t.same(await scrape(server.port()), documented('Controller'))
})

t.test('the sidecar', async (t) => {
  const server = new SidecarHealth('127.0.0.1:0', () => SIDECAR)
  await server.start()
  t.teardown(() => server.stop())
  t.same(await scrape(server.port()), documented('Sidecar'))
})

function documented(title: string): readonly Metric[] {
  const { rows = [] } = readTables('docs/reference/metrics.md').find((s) => s.title === title) ?? {}
  const words = (cell: string) => cell.match(/\w+/g) ?? []
  return rows.map(([name = '', type = '', labels = '']) => ({
    name: words(name).join(),
    type,
    labels: words(labels),
  }))
}

/** Prometheus text: `# TYPE name type`, then one sample. */
async function scrape(port: number): Promise<readonly Metric[]> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`)
  const text = await response.text()
  return [...text.matchAll(/^# TYPE (\w+) (\w+)\n(\w+)(?:\{(.*)\})? \S+$/gm)].map(
    ([, name = '', type = '', sample = '', labels = '']) => {
      if (sample !== name) throw new Error(`${name} is followed by ${sample}`)
      return { name, type, labels: [...labels.matchAll(/(\w+)="[^"]*"/g)].map((m) => m[1] ?? '') }
    },
  )
}
