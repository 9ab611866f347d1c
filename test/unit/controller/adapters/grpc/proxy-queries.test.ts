import t from 'tap'
import { ProxyQueries } from '../../../../../controller/adapters/grpc/proxy-queries.ts'
import type { QueryAnswer } from '../../../../../proto/gen/postern/proxy/v1alpha1/proxy_pb.js'

const question = { case: 'config' as const, value: { section: 'all' } }

function answer(id: string, given: Partial<QueryAnswer>): QueryAnswer {
  const none = { part: new Uint8Array(), isLast: false, errorCode: '', error: '' }
  return { $typeName: 'postern.proxy.v1alpha1.QueryAnswer', id, ...none, ...given }
}

function start() {
  const ids: string[] = []
  const asked: (() => void)[] = []
  const queries = new ProxyQueries(({ id = '' }) => {
    ids.push(id)
    asked.shift()?.()
  })
  /** Resolves when the next question is on the wire. */
  const untilAsked = () => new Promise<void>((resolve) => asked.push(resolve))
  return { ids, queries, untilAsked }
}

t.test('parts make one answer, in the order of the questions', async (t) => {
  const { ids, queries, untilAsked } = start()
  const sent = untilAsked()
  const [first, second] = [queries.ask(question), queries.ask(question)]
  await sent
  t.equal(ids.length, 1, 'the second waits')
  const next = untilAsked()
  queries.take(answer('not-mine', { part: Buffer.from('"lie"'), isLast: true }))
  queries.take(answer(ids[0] ?? '', { part: Buffer.from('{"a":') }))
  queries.take(answer(ids[0] ?? '', { part: Buffer.from('1}'), isLast: true }))
  t.same(await first, { a: 1 })
  await next
  queries.take(answer(ids[0] ?? '', { part: Buffer.from('"late"'), isLast: true }))
  queries.take(answer(ids[1] ?? '', { errorCode: 'ERR_ANSWER_TOO_LARGE', error: 'too long' }))
  await t.rejects(second, { code: 'ERR_ANSWER_TOO_LARGE', message: 'too long' })
})

t.test('what a sidecar says is checked', async (t) => {
  const { ids, queries, untilAsked } = start()
  let sent = untilAsked()
  const odd = queries.ask(question)
  await sent
  queries.take(answer(ids[0] ?? '', { errorCode: 'ERR_MADE_UP', error: 'x'.repeat(5000) }))
  await t.rejects(odd, { code: 'ERR_INTERNAL', message: 'x'.repeat(1024) })
  sent = untilAsked()
  const noJson = queries.ask(question)
  await sent
  queries.take(answer(ids[1] ?? '', { part: Buffer.from('<html>'), isLast: true }))
  await t.rejects(noJson, { code: 'ERR_INTERNAL' })
  sent = untilAsked()
  const endless = queries.ask(question)
  await sent
  const part = new Uint8Array(17 * 1024 * 1024)
  for (let i = 0; i < 2; i++) queries.take(answer(ids[2] ?? '', { part }))
  await t.rejects(endless, { code: 'ERR_ANSWER_TOO_LARGE' })
})

t.test('a stream that ends answers nobody any more; waiting has an end', async (t) => {
  const { queries, untilAsked } = start()
  const sent = untilAsked()
  const asked = Array.from({ length: 8 }, () => queries.ask(question))
  t.throws(() => queries.ask(question), { code: 'ERR_PROXY_UNAVAILABLE', message: /wait/ })
  await sent
  queries.close()
  for (const one of asked) await t.rejects(one, { code: 'ERR_PROXY_UNAVAILABLE' })
})
