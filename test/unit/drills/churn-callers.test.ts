/** By when a guest must be shut out again, and who came later. */
import t from 'tap'
import { lateGuests, missedBy, shutOutBy, worstDelay } from '../../../drills/churn-callers.ts'

const absence = { from: 10_000, to: 13_000 }

t.test('within a second of the edit', async (t) => {
  t.equal(shutOutBy(5000, [absence]), 6000)
  t.equal(shutOutBy(9000, [absence]), 10_000, 'just accepted before the kill')
  t.equal(shutOutBy(20_000, [absence]), 21_000)
})

t.test('an edit that the killed controller missed counts from its return', async (t) => {
  for (const at of [9700, 11_000, 13_500]) t.equal(shutOutBy(at, [absence]), 19_000, `${at}`)
  t.equal(shutOutBy(11_000, [{ from: 10_000, to: Number.POSITIVE_INFINITY }]), Infinity)
})

t.test('who was never granted is late always; nobody is before a grant', async (t) => {
  t.same(lateGuests([1, 10_500], [], [absence]), [1, 10_500])
  const granted = [{ from: 9000, to: 9700 }]
  t.same(lateGuests([8999, 9000, 18_999, 19_001], granted, [absence]), [8999, 19_001])
  t.same(lateGuests([10_701], granted, []), [10_701], 'no controller was away')
  t.equal(missedBy(granted, [absence]), 1)
  t.equal(missedBy(granted, []), 0)
  t.equal(worstDelay([10_701, 10_800], granted, []), 100)
  t.equal(worstDelay([], granted, []), 0)
})
