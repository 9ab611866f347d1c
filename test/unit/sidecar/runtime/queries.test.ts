import t from 'tap'
import { type AnswerPart, Queries, type QueryPorts } from '../../../../sidecar/runtime/queries.ts'
import { makePolicy, makeSet, REGO } from '../../../kit/policies.ts'

const SECRET = 'per-start-secret'
const set = makeSet([makePolicy({ rego: { ...REGO, data: { token: 'dark' } } })])
const ports: QueryPorts = {
  configDump: async () => '{"configs":[]}',
  activeSet: () => set,
  activeRevision: () => 'r1',
  findDecision: async (id) => (id === 'known-1234' ? { record: { decision_id: id } } : {}),
  secret: () => SECRET,
}
const config = (section: string) => ({ case: 'config' as const, value: { section } })
const decision = (decisionId: string) => ({ case: 'decision' as const, value: { decisionId } })
const MAX = 1_000_000

function toJson(parts: readonly AnswerPart[]): unknown {
  t.same(
    parts.map((p) => p.isLast),
    parts.map((_, i) => i === parts.length - 1),
  )
  return JSON.parse(Buffer.concat(parts.map((p) => p.part ?? new Uint8Array())).toString())
}

t.test('a section, the policies without their data, or all', async (t) => {
  const queries = new Queries(ports)
  t.same(toJson(await queries.answer(config('listeners'), MAX)), { listeners: [] })
  const said = toJson(await queries.answer(config('policies'), MAX))
  t.match(said, {
    policies: { revision: 'r1', rbac: [], set: { policies: [{ rego: { data: '[masked]' } }] } },
  })
  t.notMatch(JSON.stringify(said), /dark/)
  const all = toJson(await queries.answer(config('all'), MAX)) as object
  t.same(Object.keys(all), [
    ...['listeners', 'routes', 'clusters', 'endpoints', 'secrets', 'policies', 'bootstrap'],
  ])
})

t.test('a decision, or null', async (t) => {
  const queries = new Queries(ports)
  t.same(toJson(await queries.answer(decision('known-1234'), MAX)), {
    record: { decision_id: 'known-1234' },
  })
  t.same(toJson(await queries.answer(decision('other-1234'), MAX)), { record: null })
})

t.test('why there is no answer', async (t) => {
  const why = async (question: Parameters<Queries['answer']>[0], more: Partial<QueryPorts> = {}) =>
    new Queries({ ...ports, ...more }).answer(question, MAX)
  t.match(await why(config('nonsense')), [{ errorCode: 'ERR_CONFIG', isLast: true }])
  t.match(await why(decision('../../x')), [{ errorCode: 'ERR_CONFIG' }])
  t.match(await why({ case: undefined }), [{ errorCode: 'ERR_CONFIG', error: /upgrade/ }])
  const dumps = { configDump: async () => undefined }
  t.match(await why(config('all'), dumps), [{ errorCode: 'ERR_PROXY_UNAVAILABLE' }])
  const leaks = { findDecision: async () => ({ record: { said: SECRET } }) }
  t.match(await why(decision('known-1234'), leaks), [
    { errorCode: 'ERR_INTERNAL', error: /would hold a secret/ },
  ])
})

t.test('an answer is cut into parts, and refused when it is too long', async (t) => {
  const record = { pad: 'x'.repeat(600_000) }
  const queries = new Queries({ ...ports, findDecision: async () => ({ record }) })
  const parts = await queries.answer(decision('known-1234'), MAX)
  t.equal(parts.length, 3)
  t.same(toJson(parts), { record })
  t.match(await queries.answer(decision('known-1234'), 1000), [
    { errorCode: 'ERR_ANSWER_TOO_LARGE' },
  ])
})

t.test('one question at a time', async (t) => {
  const { promise, resolve } = Promise.withResolvers<string>()
  const queries = new Queries({ ...ports, configDump: () => promise })
  const first = queries.answer(config('all'), MAX)
  t.match(await queries.answer(decision('known-1234'), MAX), [
    { errorCode: 'ERR_PROXY_UNAVAILABLE' },
  ])
  resolve('{}')
  t.ok(toJson(await first))
  t.ok(toJson(await queries.answer(decision('known-1234'), MAX)), 'and then the next')
})
