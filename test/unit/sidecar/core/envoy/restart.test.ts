/** At once, unless Envoy keeps dying. */
import t from 'tap'
import { planRestart } from '../../../../../sidecar/core/envoy/restart.ts'

const plans = (lives: readonly number[]) => planRestart(lives)

t.test('a death, also a quick one, is followed by a start at once', async (t) => {
  t.same(plans([60_000]), { delayMs: 0, isCrashLoop: false })
  t.same(plans([5, 5]), { delayMs: 0, isCrashLoop: false })
})

t.test('from the third quick death on it waits, longer each time, 30 s at most', async (t) => {
  const quick = (n: number) => Array.from({ length: n }, () => 5)
  t.same(
    [3, 4, 5, 20].map((n) => plans(quick(n)).delayMs),
    [1000, 2000, 4000, 30_000],
  )
  t.ok(plans(quick(3)).isCrashLoop)
})

t.test('a long life ends the loop', async (t) => {
  t.same(plans([5, 5, 5, 5, 10_000]), { delayMs: 0, isCrashLoop: false })
  t.same(plans([5, 5, 5, 10_000, 5]), { delayMs: 0, isCrashLoop: false })
})
