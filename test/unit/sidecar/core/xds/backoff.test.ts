/** At once, then doubling up to a bound, spread by chance. */
import t from 'tap'
import { backoffMs } from '../../../../../sidecar/core/xds/backoff.ts'

t.test('the first try after a loss is at once', async (t) => {
  t.equal(backoffMs(0, 0.9), 0)
})

t.test('then it doubles, up to 5 s, never below half', async (t) => {
  t.same(
    [1, 2, 3, 20].map((n) => backoffMs(n, 1)),
    [200, 400, 800, 5000],
  )
  t.same(
    [1, 2, 3, 20].map((n) => backoffMs(n, 0)),
    [100, 200, 400, 2500],
  )
})
