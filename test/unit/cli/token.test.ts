import t from 'tap'
import { parseDuration } from '../../../cli/token.ts'

t.test('reads seconds, minutes and hours, and nothing else', async (t) => {
  t.equal(parseDuration('90s'), 90)
  t.equal(parseDuration('10m'), 600)
  t.equal(parseDuration('1h'), 3600)
  for (const text of ['', '10', '1d', '-1s', '1.5m', '10 m']) {
    t.throws(() => parseDuration(text), { code: 'ERR_CONFIG' }, text)
  }
})
