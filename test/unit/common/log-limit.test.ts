import t from 'tap'
import { LogLimit } from '../../../common/log-limit.ts'

t.test('so many lines of one cause, and then how many were left out', async (t) => {
  let nowMs = 0
  const limit = new LogLimit({ nowMs: () => nowMs, burst: 2, windowMs: 1000 })
  t.same(
    [limit.take('a'), limit.take('a'), limit.take('a'), limit.take('a')],
    [0, 0, undefined, undefined],
  )
  t.equal(limit.take('b'), 0, 'another cause has its own')
  nowMs = 999
  t.equal(limit.take('a'), undefined)
  nowMs = 1000
  t.equal(limit.take('a'), 3)
  t.equal(limit.take('a'), 0)
})

t.test('causes are bounded', async (t) => {
  const limit = new LogLimit({ nowMs: () => 0, burst: 1 })
  for (let i = 0; i <= 10_000; i++) t.equal(limit.take(`${i}`), 0)
  t.equal(limit.take('10000'), undefined)
  t.equal(limit.take('0'), 0, 'forgotten')
})
