import t from 'tap'
import { Heartbeat } from '../../../../../sidecar/adapters/worker/heartbeat.ts'

const REQUEST = { decisionId: 'id-é', requestedBy: '127.0.0.1:1', path: '/x' }

t.test('what one thread writes another reads', async (t) => {
  const writer = new Heartbeat()
  const reader = new Heartbeat(writer.memory)
  t.same(reader.beat(), { busySinceNs: undefined, sequence: 0n })
  t.equal(reader.last(), undefined)
  writer.begin(REQUEST)
  t.ok((reader.beat().busySinceNs ?? 0n) > 0n)
  t.equal(reader.beat().sequence, 1n)
  t.same(reader.last(), { request: REQUEST, policy: undefined })
  writer.enter('shop/policy')
  t.same(reader.last(), { request: REQUEST, policy: 'shop/policy' })
  writer.end()
  t.equal(reader.last(), undefined, 'an idle worker has no last request')
  writer.begin({ ...REQUEST, path: '/y' })
  t.same(reader.last(), { request: { ...REQUEST, path: '/y' }, policy: undefined })
  t.equal(reader.beat().sequence, 2n)
})

t.test('a request that is too long is named by its id and its caller', async (t) => {
  const heartbeat = new Heartbeat()
  heartbeat.begin({ ...REQUEST, path: 'x'.repeat(100_000) })
  t.same(heartbeat.last(), {
    request: { decisionId: 'id-é', requestedBy: REQUEST.requestedBy },
    policy: undefined,
  })
  heartbeat.enter('x'.repeat(1000))
  t.equal(heartbeat.last()?.policy, undefined)
})
