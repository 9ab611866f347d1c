import t from 'tap'
import {
  type Breaker,
  isOpen,
  sourceOf,
  strike,
} from '../../../../../sidecar/core/policy/breaker.ts'

t.test('the first timeout sets a policy aside for a second, for who caused it', async (t) => {
  const breaker = strike(undefined, 'a', 500)
  t.equal(isOpen(breaker, 'a', 1499), true)
  t.equal(isOpen(breaker, 'a', 1500), false)
  t.equal(isOpen(breaker, 'b', 600), false, 'others are not its victims')
  t.equal(isOpen(undefined, 'a', 0), false)
})

t.test('each further timeout doubles the pause, up to a minute', async (t) => {
  let breaker = strike(undefined, 'a', 0)
  const pauses = Array.from({ length: 8 }, () => {
    const { openUntilMs = 0, struckAtMs = 0 } = breaker.sources.get('a') ?? {}
    breaker = strike(breaker, 'a', openUntilMs)
    return openUntilMs - struckAtMs
  })
  t.same(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  t.equal(isOpen(breaker, 'b', 0), false, 'one caller never closes it for others')
})

t.test('several callers within seconds: for all', async (t) => {
  const strikes = (times: readonly number[]) =>
    times.reduce<Breaker | undefined>((b, at, i) => strike(b, `caller-${i}`, at), undefined)
  t.equal(isOpen(strikes([0, 0]), 'other', 1), false)
  t.equal(isOpen(strikes([0, 5000, 10_000]), 'other', 10_999), true)
  t.equal(isOpen(strikes([0, 5000, 10_000]), 'other', 11_000), false)
  t.equal(isOpen(strikes([0, 5000, 10_001]), 'other', 10_002), false)
  t.equal(strikes([0, 1, 2, 3])?.all?.openUntilMs, 2003, 'each further one doubles that too')
})

t.test('ten quiet minutes are forgiveness', async (t) => {
  const twice = strike(strike(undefined, 'a', 0), 'a', 1000)
  t.equal(strike(twice, 'a', 601_001).sources.get('a')?.strikes, 1)
  t.equal(strike(twice, 'a', 601_000).sources.get('a')?.strikes, 3)
})

t.test('sources are bounded; who struck last stays', async (t) => {
  let breaker: Breaker | undefined
  for (let i = 0; i < 1500; i++) breaker = strike(breaker, `${i}`, i * 20_000)
  t.equal(breaker?.sources.size, 1000)
  t.ok(breaker?.sources.has('1499'))
})

t.test('a source is the identity, else the address', async (t) => {
  t.equal(sourceOf({ source: 'spiffe://a', requestedBy: '10.0.0.1:5' }), 'spiffe://a')
  t.equal(sourceOf({ requestedBy: '10.0.0.1:5' }), '10.0.0.1')
  t.equal(sourceOf({ requestedBy: '2001:db8::1:443' }), '2001:db8::1')
  t.equal(sourceOf({ requestedBy: '' }), '')
})
