import t from 'tap'
import { parseDuration } from '../../../../../controller/core/crd/duration.ts'

t.test('reads the durations of the Gateway API', async (t) => {
  const cases = {
    '0s': 0,
    '1ms': 1,
    '10s': 10_000,
    '1m': 60_000,
    '1h30m': 5_400_000,
    '2s500ms': 2500,
  }
  for (const [text, ms] of Object.entries(cases)) t.equal(parseDuration(text), ms, text)
})

t.test('anything else is none', async (t) => {
  for (const text of ['', '1', 's', '1.5s', '-1s', '1 s', '1d', '123456s', '1s1s1s1s1s', '1us']) {
    t.equal(parseDuration(text), undefined, text)
  }
})
