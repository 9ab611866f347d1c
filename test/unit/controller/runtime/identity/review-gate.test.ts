/** How many tokens are asked about at once: a few run, some wait in order, the rest is refused; no place is lost. */
import t from 'tap'
import { createReviewGate } from '../../../../../controller/runtime/identity/review-gate.ts'

const turn = () => new Promise(setImmediate)

t.test('a few run, some wait, the rest is refused', async (t) => {
  const gate = createReviewGate({ atOnce: 2, waiting: 2 })
  const asked: string[] = []
  const ends: PromiseWithResolvers<string>[] = []
  const pass = (address: string) =>
    gate.pass(address, () => {
      asked.push(address)
      const end = Promise.withResolvers<string>()
      ends.push(end)
      return end.promise
    })
  const running = ['a', 'b', 'c', 'd'].map(pass)
  await t.rejects(pass('e'), { code: 'ERR_RATE_LIMITED' })
  await turn()
  t.same(asked, ['a', 'b'])
  ends[0]?.reject(new Error('no answer'))
  await t.rejects(running[0] as Promise<string>, { message: 'no answer' })
  await turn()
  t.same(asked, ['a', 'b', 'c'], 'a failure gives its place on')
  ends[1]?.resolve('b')
  t.equal(await running[1], 'b')
  await turn()
  t.same(asked, ['a', 'b', 'c', 'd'])
  for (const end of ends) end.resolve('x')
  await Promise.all(running.slice(2))
  const more = ['a', 'b'].map(pass)
  await turn()
  t.equal(asked.length, 6, 'all places are free again')
  for (const end of ends) end.resolve('x')
  await Promise.all(more)
})

t.test(
  'an address waits with few, one after the other, and takes no place of others',
  async (t) => {
    const gate = createReviewGate()
    let running = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const ask = () => {
      running += 1
      return promise
    }
    const own = [1, 2, 3, 4].map(() => gate.pass('a', ask))
    await t.rejects(gate.pass('a', ask), { code: 'ERR_RATE_LIMITED' })
    const other = gate.pass('b', ask)
    await turn()
    t.equal(running, 2, 'one of each')
    resolve()
    await Promise.all([...own, other])
    t.equal(running, 5)
  },
)
