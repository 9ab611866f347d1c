import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { metricsTable, withMetrics } from '../../../scripts/gen-metrics-docs.ts'

const PAGE = join(import.meta.dirname, '../../../docs/reference/metrics.md')

t.test('the page is in step, and every metric says what it means', async (t) => {
  const page = readFileSync(PAGE, 'utf8')
  t.equal(await withMetrics(page), page)
  t.notMatch(page, /\|\s+\|$/m)
})

t.test('a page without the markers is not written over', async (t) => {
  await t.rejects(withMetrics('# Metrics\n'), { message: /lacks/ })
})

t.test('labels are named, pipes in a meaning stay text', async (t) => {
  const row = { name: 'a_total', type: 'counter', help: 'x|y', labels: ['l', 'm'] } as const
  t.equal(metricsTable([row]).split('\n')[2], '| `a_total` | counter | `l`, `m` | x\\|y |')
})
