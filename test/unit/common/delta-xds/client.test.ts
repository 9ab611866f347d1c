/** The rules of one delta-xDS stream, client side; each test is named by its rule. */
import t from 'tap'
import {
  type ClientEffect,
  type ClientEvent,
  type ClientState,
  isTold,
  startClient,
  stepClient,
} from '../../../../common/delta-xds/client.ts'
import { PUBLISH_ORDER, TYPE_URLS, type TypeUrl } from '../../../../common/xds.ts'
import { toXdsResource } from '../../../../common/xds-snapshot.ts'

const { cluster, listener } = TYPE_URLS
const one = toXdsResource('one', Buffer.from('1'))
const two = toXdsResource('two', Buffer.from('2'))

class Client {
  state: ClientState
  constructor(state = startClient()) {
    this.state = state
  }
  step(event: ClientEvent): readonly ClientEffect[] {
    const { state, effects } = stepClient(this.state, event)
    this.state = state
    return effects
  }
  response(nonce: string, resources = [one], removed: string[] = [], typeUrl: string = cluster) {
    return this.step({ kind: 'response', typeUrl, nonce, resources, removed })
  }
  verdict(nonce: string, error?: string) {
    return this.step({ kind: 'verdict', typeUrl: cluster, nonce, error })
  }
  initialVersions(): Record<string, string> {
    const effects = this.step({ kind: 'opened' })
    const request = effects.find((e) => e.kind === 'request' && e.typeUrl === cluster)
    return request?.kind === 'request' ? Object.fromEntries(request.initialVersions) : {}
  }
}

t.test('asks for everything of the six types, in publish order', async (t) => {
  const effects = new Client().step({ kind: 'opened' })
  t.match(
    effects,
    PUBLISH_ORDER.map((typeUrl) => ({ typeUrl, subscribe: ['*'], nonce: '' })),
  )
})

t.test('keeps what arrived and answers only at the verdict', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  t.same(c.response('n1'), [{ kind: 'changed', typeUrl: cluster }])
  t.match(c.verdict('n1'), [{ kind: 'request', nonce: 'n1', error: undefined, subscribe: [] }])
})

t.test('passes the text of a NACK', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1')
  t.match(c.verdict('n1', 'one: bad'), [{ nonce: 'n1', error: 'one: bad' }])
})

t.test('claims only ACKed versions after a reconnect', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1')
  c.verdict('n1')
  c.response('n2', [two])
  c.step({ kind: 'closed' })
  t.same(c.initialVersions(), { one: one.version, two: `!${two.version}` })
  t.ok(c.state.types.get(cluster)?.resources.has('two'), 'but has the other still')
})

t.test('does not claim what was refused, so that a new controller hears of it', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1')
  c.verdict('n1', 'bad')
  c.step({ kind: 'closed' })
  t.same(c.initialVersions(), { one: `!${one.version}` })
})

t.test('claims what the cache had', async (t) => {
  const c = new Client(startClient(new Map([[cluster, new Map([['one', one]])]])))
  t.same(c.initialVersions(), { one: one.version })
})

t.test('drops removed resources', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1', [one, two])
  c.response('n2', [], ['one'])
  t.same([...(c.state.types.get(cluster)?.resources.keys() ?? [])], ['two'])
})

t.test('ignores a verdict on a nonce of an earlier stream', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1')
  c.step({ kind: 'closed' })
  c.step({ kind: 'opened' })
  t.same(c.verdict('n1'), [])
})

t.test('revises a verdict, each change once', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1')
  c.verdict('n1')
  t.same(c.verdict('n1'), [])
  t.match(c.verdict('n1', 'after all'), [{ nonce: 'n1', error: 'after all' }])
  t.match(c.verdict('n1'), [{ nonce: 'n1', error: undefined }])
})

t.test('refuses a response that names a resource twice', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  t.match(c.response('n1', [one, one]), [{ kind: 'request', error: /twice/ }])
  t.notOk(c.state.types.get(cluster)?.resources.has('one'))
})

t.test('refuses a type that it did not ask for', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  t.match(c.response('n1', [one], [], 'type/x'), [{ kind: 'request', error: /unknown/ }])
})

t.test('keeps types apart', async (t) => {
  const c = new Client()
  c.step({ kind: 'opened' })
  c.response('n1', [one], [], listener)
  t.equal(c.state.types.get(cluster)?.resources.size, 0)
})

t.test(
  'it is told when it knows of every type, from the server or from a whole cache',
  async (t) => {
    const c = new Client()
    c.step({ kind: 'opened' })
    for (const [i, typeUrl] of PUBLISH_ORDER.entries()) {
      t.notOk(isTold(c.state), `${i} of ${PUBLISH_ORDER.length}`)
      c.response(`${i}`, [], [], typeUrl)
    }
    t.ok(isTold(c.state))
    c.step({ kind: 'closed' })
    t.ok(isTold(c.state), 'it goes on knowing')
    const cached = (typeUrl: TypeUrl) => {
      const client = new Client(startClient(new Map([[typeUrl, new Map([['one', one]])]])))
      client.step({ kind: 'opened' })
      return isTold(client.state)
    }
    t.ok(cached(listener), 'a controller that withholds the newest says nothing')
    t.notOk(cached(cluster), 'a cache of a half')
  },
)
