/** When the controller hears ACK, when NACK, when nothing yet. */
import t from 'tap'
import {
  type ClientState,
  startClient,
  stepClient,
} from '../../../../../common/delta-xds/client.ts'
import {
  type ServerEvent,
  type ServerState,
  startServer,
  step,
} from '../../../../../common/delta-xds/server.ts'
import {
  PUBLISH_ORDER,
  SECRET_SVID,
  TYPE_URLS,
  type TypeUrl,
  type XdsResource,
} from '../../../../../common/xds.ts'
import { generationOf, toXdsResource } from '../../../../../common/xds-snapshot.ts'
import {
  effectiveSnapshot,
  noteAcked,
  noteNacked,
  noteSent,
  startStore,
  type XdsStore,
} from '../../../../../sidecar/core/xds/store.ts'
import {
  desiredOf,
  isListenerProven,
  progressOf,
  verdicts,
} from '../../../../../sidecar/core/xds/verdict.ts'

const { listener, cluster, endpoint, secret } = TYPE_URLS
const one = toXdsResource('a', Buffer.from('1'))
const two = toXdsResource('a', Buffer.from('2'))

/** Both streams of one sidecar, with an Envoy that answers only when told. */
class World {
  upstream: ClientState
  envoy: ServerState | undefined
  store: XdsStore = startStore(new Map())
  readonly unanswered: { typeUrl: string; nonce: string }[] = []

  /** `isTold`: the controller has said of every type what there is. */
  constructor({ isTold } = { isTold: true }) {
    const { state } = stepClient(startClient(), { kind: 'opened' })
    const types = [...state.types].map(
      ([url, type]) => [url, { ...type, isKnown: isTold }] as const,
    )
    this.upstream = { ...state, types: new Map(types) }
  }

  receive(typeUrl: TypeUrl, nonce: string, resources: XdsResource[], removed: string[] = []): void {
    const event = { kind: 'response', typeUrl, nonce, resources, removed } as const
    this.upstream = stepClient(this.upstream, event).state
    this.publish()
  }
  publish(): void {
    const snapshot = effectiveSnapshot(desiredOf(this.upstream), this.store, undefined)
    this.#step({ kind: 'snapshot', snapshot })
  }
  envoyAsks(typeUrl: TypeUrl, subscribe: string[] = []): void {
    this.envoy ??= startServer({ isolate: true })
    this.publish()
    this.#request(typeUrl, '', undefined, subscribe)
  }
  envoyAnswers(error?: string): void {
    for (const { typeUrl, nonce } of this.unanswered.splice(0))
      this.#request(typeUrl, nonce, error, [])
  }
  #request(typeUrl: string, nonce: string, error: string | undefined, subscribe: string[]): void {
    const request = {
      typeUrl,
      subscribe,
      unsubscribe: [],
      initialVersions: new Map(),
      nonce,
      error,
    }
    this.#step({ kind: 'request', request })
  }
  #step(event: ServerEvent): void {
    if (this.envoy === undefined) return
    const { state, effects } = step(this.envoy, event)
    this.envoy = state
    for (const e of effects) {
      if (e.kind === 'send') {
        this.store = noteSent(this.store, e)
        this.unanswered.push(e)
      } else if (e.kind === 'acked') this.store = noteAcked(this.store, e.typeUrl, e.versions)
      else if (e.kind === 'nacked')
        this.store = noteNacked(this.store, e.typeUrl, e.versions, e.message)
    }
  }
}

t.test('says nothing while Envoy is away, and nothing before it has answered', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  t.same(verdicts(w), [])
  w.envoyAsks(listener)
  t.same(verdicts(w), [])
  t.match(progressOf(w), { isAccepted: false, refusals: [] })
})

t.test('ACKs once Envoy has it', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  w.envoyAsks(listener)
  w.envoyAnswers()
  t.same(verdicts(w), [{ typeUrl: listener, nonce: '1', error: undefined }])
  const generation = generationOf(desiredOf(w.upstream))
  t.same(progressOf(w), { generation, isAccepted: true, listeners: 'there', refusals: [] })
})

t.test('Envoy has its listeners when it has said something of each, and has one', async (t) => {
  const w = new World()
  t.equal(progressOf(w).listeners, 'open', 'there is no configuration')
  w.receive(listener, '1', [one])
  w.envoyAsks(listener)
  t.equal(progressOf(w).listeners, 'open', 'it has said nothing')
  w.envoyAnswers()
  t.equal(progressOf(w).listeners, 'there')
  const refusing = new World()
  refusing.receive(listener, '1', [one])
  refusing.envoyAsks(listener)
  refusing.envoyAnswers('address in use')
  t.equal(progressOf(refusing).listeners, 'missing', 'it has none')
  const without = new World()
  without.receive(cluster, '1', [one])
  without.envoyAsks(cluster)
  t.equal(progressOf(without).listeners, 'there', 'none is wanted')
})

t.test('NACKs in Envoy’s words, with the name', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  w.envoyAsks(listener)
  w.envoyAnswers('no filter chains')
  t.same(verdicts(w), [{ typeUrl: listener, nonce: '1', error: 'a: no filter chains' }])
  t.match(progressOf(w), { isAccepted: false, refusals: ['Listener a: no filter chains'] })
})

t.test('waits for what Envoy may still ask for, and ACKs what it does not use', async (t) => {
  const w = new World()
  w.receive(endpoint, '1', [one])
  w.envoyAsks(cluster)
  t.same(verdicts(w), [], 'Envoy has not asked for listeners yet')
  w.envoyAnswers()
  w.envoyAsks(listener)
  t.same(verdicts(w), [], 'Envoy is not quiet')
  w.envoyAnswers()
  t.same(verdicts(w), [{ typeUrl: endpoint, nonce: '1', error: undefined }])
})

t.test('takes an ACK back when Envoy refuses what it asked for later', async (t) => {
  const w = new World()
  w.receive(endpoint, '1', [one])
  w.envoyAsks(cluster)
  w.envoyAsks(listener)
  w.envoyAnswers()
  const [ack] = verdicts(w)
  if (ack === undefined) return t.fail('no ACK')
  w.upstream = stepClient(w.upstream, { kind: 'verdict', ...ack }).state
  w.envoyAsks(endpoint, ['a'])
  w.envoyAnswers('bad')
  t.same(verdicts(w), [{ typeUrl: endpoint, nonce: '1', error: 'a: bad' }])
})

t.test('a version that was replaced meanwhile no longer matters', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  w.upstream = stepClient(w.upstream, {
    kind: 'verdict',
    typeUrl: listener,
    nonce: '1',
    error: 'bad',
  }).state
  w.receive(listener, '2', [two])
  t.same(verdicts(w), [{ typeUrl: listener, nonce: '1', error: undefined }])
})

t.test('a removal is done when Envoy is quiet, or not there', async (t) => {
  const w = new World()
  w.receive(listener, '1', [], ['a'])
  t.same(verdicts(w), [{ typeUrl: listener, nonce: '1', error: undefined }])
  w.envoyAsks(listener)
  t.same(verdicts(w), [])
  w.envoyAnswers()
  t.equal(verdicts(w).length, 1)
})

t.test('the own secret’s name is never waited for', async (t) => {
  const w = new World()
  w.receive(secret, '1', [toXdsResource(SECRET_SVID, Buffer.from('x'))])
  t.same(verdicts(w), [{ typeUrl: secret, nonce: '1', error: undefined }])
})

t.test('a refused own secret is said, and nothing counts as accepted', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  w.envoyAsks(listener)
  w.envoyAnswers()
  w.store = noteNacked(w.store, secret, new Map([[SECRET_SVID, 'v']]), 'key does not match')
  t.match(progressOf(w), {
    isAccepted: false,
    refusals: ['Secret default: key does not match'],
  })
})

t.test('nothing counts as accepted while what it replaces still serves', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  w.envoyAsks(listener)
  w.envoyAnswers()
  w.envoyAsks(cluster)
  w.envoyAnswers()
  t.ok(isListenerProven(w, 'a'))
  const old = toXdsResource('old', Buffer.from('old'))
  const kept = { typeUrl: listener, resource: old, waitsFor: new Set(['a']) }
  w.store = { ...w.store, kept: new Map([['x', kept]]) }
  t.equal(progressOf(w).isAccepted, false)
})

t.test('a listener is proven with all that it is made of, or not', async (t) => {
  const w = new World()
  w.receive(listener, '1', [one])
  w.envoyAsks(listener)
  t.notOk(isListenerProven(w, 'a'), 'Envoy has said nothing')
  w.envoyAnswers()
  w.receive(cluster, '2', [two])
  w.envoyAsks(cluster)
  t.notOk(isListenerProven(w, 'a'), 'its cluster is on its way')
  w.envoyAnswers('bad')
  t.notOk(isListenerProven(w, 'a'), 'its cluster is refused')
})

t.test('what stands behind a refused port is no inbound listener', async (t) => {
  const w = new World()
  const port = toXdsResource('inbound/80', Buffer.from('1'))
  w.receive(listener, '1', [port])
  w.envoyAsks(listener)
  w.envoyAnswers('cannot bind')
  w.receive(listener, '2', [toXdsResource('decide/80/tls', Buffer.from('1'))])
  w.envoyAnswers()
  t.equal(progressOf(w).listeners, 'missing')
})

t.test('the first half of what comes is not all of it', async (t) => {
  const w = new World({ isTold: false })
  w.receive(secret, '1', [one])
  w.envoyAsks(cluster)
  w.envoyAsks(listener)
  w.envoyAnswers()
  t.match(progressOf(w), { isAccepted: false, listeners: 'open' }, 'its listeners are on their way')
  for (const [i, typeUrl] of PUBLISH_ORDER.entries())
    if (typeUrl !== secret) w.receive(typeUrl, `${i + 2}`, [])
  w.envoyAnswers()
  t.match(progressOf(w), { isAccepted: true, listeners: 'there' }, 'there are none')
})
