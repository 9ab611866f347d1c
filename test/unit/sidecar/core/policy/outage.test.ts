import t from 'tap'
import { begin, causeOf, end, type Outage } from '../../../../../sidecar/core/policy/outage.ts'

const SECOND = 1_000_000_000n

t.test('a call that fell into an outage knows its policy', async (t) => {
  const lasting = begin([], 'shop/slow', 10n * SECOND)
  t.equal(causeOf(lasting, 9n * SECOND), undefined)
  t.equal(causeOf(lasting, 10n * SECOND - SECOND / 2n), 'shop/slow', 'it waited already')
  t.equal(causeOf(lasting, 99n * SECOND), 'shop/slow')
  const over = end(lasting, 11n * SECOND)
  t.equal(causeOf(over, 12n * SECOND), 'shop/slow', 'Envoy was not yet back')
  t.equal(causeOf(over, 12n * SECOND + 1n), undefined)
  const next = end(begin(over, 'shop/other', 20n * SECOND), 21n * SECOND)
  t.equal(causeOf(next, 20n * SECOND), 'shop/other')
  t.equal(causeOf(next, 11n * SECOND), 'shop/slow', 'the end of one is not the end of another')
})

t.test('bounded', async (t) => {
  let outages: readonly Outage[] = []
  for (let i = 0n; i < 100n; i++) outages = end(begin(outages, `p${i}`, i), i)
  t.equal(outages.length, 16)
  t.equal(outages.at(-1)?.policy, 'p99')
})
