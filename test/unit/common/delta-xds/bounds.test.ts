/** What a client can't make the server do: remember without end, send one huge response, take a guess for an answer. */
import t from 'tap'
import {
  isSettled,
  type SendEffect,
  type ServerEvent,
  type ServerState,
  startServer,
  step,
} from '../../../../common/delta-xds/server.ts'
import { blamedNames } from '../../../../common/delta-xds/wire.ts'
import { TYPE_URLS } from '../../../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../../../common/xds-snapshot.ts'

const { listener, cluster } = TYPE_URLS
const MIB = 1024 * 1024

function big(name: string, bytes = 1.5 * MIB) {
  return toXdsResource(name, Buffer.alloc(bytes, name))
}

function request(typeUrl: string, more: object = {}): ServerEvent {
  const request = {
    typeUrl,
    subscribe: [],
    unsubscribe: [],
    initialVersions: new Map<string, string>(),
    nonce: '',
    error: undefined,
    ...more,
  }
  return { kind: 'request', request }
}

function run(start: ServerState, events: readonly ServerEvent[]) {
  let state = start
  const all = events.flatMap((event) => {
    const next = step(state, event)
    state = next.state
    return next.effects
  })
  const sent = all.filter((e): e is SendEffect => e.kind === 'send')
  return { state, all, sent }
}

const fresh = () => startServer({ isolate: false, noncePrefix: 'n-' })

t.test('splits what is larger than a response, and withholds what depends on it', async (t) => {
  const snapshot = toXdsSnapshot(
    new Map([
      [cluster, [big('a'), big('b'), big('c')]],
      [listener, [toXdsResource('l', Buffer.from('l'))]],
    ]),
  )
  const first = run(fresh(), [
    { kind: 'snapshot', snapshot },
    request(cluster, { subscribe: ['*'] }),
    request(listener, { subscribe: ['*'] }),
  ])
  t.same(
    first.sent.map((s) => s.resources.map((r) => r.name)),
    [['a']],
    'no empty listener response either: Envoy would start without its listeners',
  )
  let { state } = first
  const names: string[] = []
  for (let next = first.sent.shift(); next !== undefined; ) {
    const answered = run(state, [request(next.typeUrl, { nonce: next.nonce })])
    state = answered.state
    names.push(...answered.sent.flatMap((s) => s.resources.map((r) => r.name)))
    next = answered.sent.shift()
  }
  t.same(names, ['b', 'c', 'l'])
})

t.test(
  'what is removed goes with the last of several responses, not before what comes in its place',
  async (t) => {
    const before = toXdsSnapshot(new Map([[listener, [big('old', 10)]]]))
    const after = toXdsSnapshot(new Map([[listener, [big('a'), big('b')]]]))
    const first = run(fresh(), [
      { kind: 'snapshot', snapshot: before },
      request(listener, { subscribe: ['*'] }),
      request(listener, { nonce: 'n-1' }),
      { kind: 'snapshot', snapshot: after },
    ])
    t.match(first.sent[1], { resources: [{ name: 'a' }], removed: [] })
    const second = run(first.state, [request(listener, { nonce: 'n-2' })])
    t.match(second.sent, [{ resources: [{ name: 'b' }], removed: ['old'] }])
  },
)

t.test('sends one resource that is larger than a response alone', async (t) => {
  const snapshot = toXdsSnapshot(new Map([[cluster, [big('a', 3 * MIB), big('b', 10)]]]))
  const { sent } = run(fresh(), [{ kind: 'snapshot', snapshot }, request(cluster)])
  t.same(
    sent.map((s) => s.resources.map((r) => r.name)),
    [['a']],
  )
})

t.test('its nonces are the stream’s own', async (t) => {
  const { sent } = run(fresh(), [
    { kind: 'snapshot', snapshot: toXdsSnapshot(new Map()) },
    request(cluster),
  ])
  t.equal(sent[0]?.nonce, 'n-1')
})

t.test('ends a stream that asks for too much', async (t) => {
  const long = 'x'.repeat(1025)
  const many = Array.from({ length: 20_001 }, (_, i) => `name-${i}`)
  const claims = new Map(many.map((name) => [name, '1']))
  const cases: [string, ServerEvent, string][] = [
    ['no type', request(''), 'INVALID_ARGUMENT'],
    ['a long type', request(long), 'INVALID_ARGUMENT'],
    ['a long name', request(cluster, { subscribe: [long] }), 'INVALID_ARGUMENT'],
    [
      'a long version',
      request(cluster, { initialVersions: new Map([['a', long]]) }),
      'INVALID_ARGUMENT',
    ],
    ['many names', request(cluster, { subscribe: many }), 'RESOURCE_EXHAUSTED'],
    ['many claims', request(cluster, { initialVersions: claims }), 'RESOURCE_EXHAUSTED'],
  ]
  for (const [name, event, status] of cases) {
    t.match(run(fresh(), [event]).all, [{ kind: 'error', status }], name)
  }
  const halves = [cluster, listener].map((type) =>
    request(type, { subscribe: many.slice(0, 10_001) }),
  )
  t.match(run(fresh(), halves).all, [{ status: 'RESOURCE_EXHAUSTED' }], 'types count together')
})

t.test('removes what was claimed with an empty version', async (t) => {
  const initialVersions = new Map([['old', '']])
  const { sent } = run(fresh(), [
    { kind: 'snapshot', snapshot: toXdsSnapshot(new Map()) },
    request(cluster, { subscribe: ['*'], initialVersions }),
  ])
  t.match(sent, [{ removed: ['old'] }])
})

t.test('takes the legacy form until a name was asked for', async (t) => {
  const snapshot = toXdsSnapshot(new Map([[cluster, [big('a', 10)]]]))
  const offer: ServerEvent = { kind: 'snapshot', snapshot }
  const names = (...events: ServerEvent[]) =>
    run(fresh(), [offer, ...events]).sent.flatMap((s) => s.resources.map((r) => r.name))
  t.same(names(request(cluster, { unsubscribe: ['x'] })), [])
  t.same(names(request(cluster, { unsubscribe: ['x'] }), request(cluster)), ['a'])
  t.same(names(request(cluster, { unsubscribe: ['*'] }), request(cluster)), ['a'])
  const left = [request(cluster), request(cluster, { unsubscribe: ['*'] }), request(cluster)]
  t.equal(names(...left).length, 1, 'a wildcard that was left does not come back')
})

t.test('is settled when all is ACKed, and not before', async (t) => {
  const snapshot = toXdsSnapshot(
    new Map([
      [cluster, [big('a', 10)]],
      [listener, [big('l', 10)]],
    ]),
  )
  const first = run(fresh(), [{ kind: 'snapshot', snapshot }, request(cluster)])
  const clusterAck = request(cluster, { nonce: 'n-1' })
  t.notOk(isSettled(fresh()), 'no snapshot')
  t.notOk(isSettled(first.state))
  const second = run(first.state, [clusterAck])
  t.notOk(isSettled(second.state), 'listeners were not asked for')
  const third = run(second.state, [request(listener)])
  t.notOk(isSettled(third.state))
  t.ok(isSettled(run(third.state, [request(listener, { nonce: 'n-2' })]).state))
  const refused = run(third.state, [request(listener, { nonce: 'n-2', error: 'bad' })])
  t.notOk(isSettled(refused.state), 'a refusal')
})

t.test('blames whom the client names, and all when it names none', async (t) => {
  const names = ['inbound/1', 'inbound/2']
  t.same(blamedNames(names, 'inbound/2: bad'), ['inbound/2'])
  t.same(blamedNames(names, "Error adding/updating listener(s) inbound/1: cannot bind '1'"), [
    'inbound/1',
  ])
  t.same(blamedNames(names, 'bad'), names)
})
