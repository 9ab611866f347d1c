import t from 'tap'
import { type DeltaRequest, startServer, step } from '../../../../common/delta-xds/server.ts'
import { syncOf } from '../../../../common/delta-xds/sync.ts'
import { TYPE_URLS, type XdsSnapshot } from '../../../../common/xds.ts'

const { cluster, listener } = TYPE_URLS

function snapshotOf(version: string): XdsSnapshot {
  const one = (name: string) => new Map([[name, { name, version, value: new Uint8Array([1]) }]])
  return {
    version,
    resources: new Map([
      [cluster, one('c')],
      [listener, one('l')],
    ]),
  }
}

function request(typeUrl: string, rest: Partial<DeltaRequest> = {}) {
  const none = { nonce: '', error: undefined, subscribe: [], unsubscribe: [] }
  return {
    kind: 'request' as const,
    request: { typeUrl, initialVersions: new Map<string, string>(), ...none, ...rest },
  }
}

t.test('a word for each type of the snapshot, as its verdicts come in', async (t) => {
  let state = startServer({ isolate: false })
  const say = (event: Parameters<typeof step>[1]) => {
    const done = step(state, event)
    state = done.state
    return done.effects.flatMap((e) => (e.kind === 'send' ? [e.nonce] : []))
  }
  const words = () => [syncOf(state).get(cluster), syncOf(state).get(listener)]
  t.same([...syncOf(state)], [], 'nothing is published')
  say({ kind: 'snapshot', snapshot: snapshotOf('1') })
  t.same(words(), ['NOT SENT', 'NOT SENT'])
  const [first = ''] = say(request(cluster))
  t.same(words(), ['STALE', 'NOT SENT'])
  say(request(cluster, { nonce: first }))
  const [second = ''] = say(request(listener))
  t.same(words(), ['SYNCED', 'STALE'])
  say(request(listener, { nonce: second, error: 'no' }))
  t.same(words(), ['SYNCED', 'NACKED'])
  const [third = '', fourth = ''] = say({ kind: 'snapshot', snapshot: snapshotOf('2') })
  t.same(words(), ['STALE', 'STALE'])
  say(request(cluster, { nonce: third }))
  t.same(words(), ['SYNCED', 'STALE'])
  say(request(listener, { nonce: fourth }))
  t.same(words(), ['SYNCED', 'SYNCED'])
})
