import t from 'tap'
import { isOpen, strike } from '../../../../../sidecar/core/policy/breaker.ts'

t.test('the first timeout sets a policy aside for a second', async (t) => {
  const breaker = strike(undefined, 500)
  t.equal(isOpen(breaker, 1499), true)
  t.equal(isOpen(breaker, 1500), false)
  t.equal(isOpen(undefined, 0), false)
})

t.test('each further timeout doubles the pause, up to a minute', async (t) => {
  let breaker = strike(undefined, 0)
  const pauses = Array.from({ length: 8 }, () => {
    const pause = breaker.openUntilMs - breaker.struckAtMs
    breaker = strike(breaker, breaker.openUntilMs)
    return pause
  })
  t.same(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
})

t.test('ten quiet minutes are forgiveness', async (t) => {
  const breaker = strike(strike(undefined, 0), 1000)
  t.equal(strike(breaker, 601_001).strikes, 1)
  t.equal(strike(breaker, 601_000).strikes, 3)
})
