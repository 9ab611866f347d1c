import t from 'tap'
import { Queue } from '../../../../controller/runtime/queue.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const tick = () => new Promise((resolve) => setImmediate(resolve))

t.test('many requests, one run at a time, and one more after', async (t) => {
  let runs = 0
  let running = 0
  const gates: (() => void)[] = []
  const queue = new Queue({
    log: silent,
    run: async () => {
      runs += 1
      running += 1
      t.equal(running, 1)
      await new Promise<void>((resolve) => gates.push(resolve))
      running -= 1
      return {}
    },
  })
  for (let i = 0; i < 5; i++) queue.request()
  await tick()
  t.equal(runs, 1)
  for (let i = 0; i < 5; i++) queue.request()
  gates.shift()?.()
  await tick()
  t.equal(runs, 2)
  gates.shift()?.()
  await tick()
  t.equal(runs, 2)
  await queue.stop()
  queue.request()
  t.equal(runs, 2, 'stopped is stopped')
})

t.test('a failure is logged once and tried again, with growing pauses', async (t) => {
  const logged: { retryAfterMs: number; code: string }[] = []
  const done = Promise.withResolvers<void>()
  let runs = 0
  const queue = new Queue({
    minBackoffMs: 1,
    maxBackoffMs: 4,
    log: { ...silent, error: (fields) => void logged.push(fields as (typeof logged)[number]) },
    run: async () => {
      runs += 1
      if (runs <= 5) throw new Error('no')
      done.resolve()
      return {}
    },
  })
  queue.request()
  await done.promise
  t.same(
    logged.map((l) => l.retryAfterMs),
    [1, 2, 4, 4, 4],
  )
  t.equal(logged[0]?.code, 'ERR_INTERNAL')
  await queue.stop()
})

t.test('a run may ask to be run again, and a stop ends it', async (t) => {
  const second = Promise.withResolvers<void>()
  let runs = 0
  const queue = new Queue({
    log: silent,
    run: async () => {
      runs += 1
      if (runs === 2) second.resolve()
      return runs === 1 ? { requeueAfterMs: 1 } : {}
    },
  })
  queue.request()
  await second.promise
  await queue.stop()

  const stopping = new Queue({
    log: { ...silent, error: () => t.fail('an abort is no failure') },
    run: (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  })
  stopping.request()
  await stopping.stop()
})
