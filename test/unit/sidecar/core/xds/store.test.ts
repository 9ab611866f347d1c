/** What Envoy is served, from what the controller sent and what Envoy said of it. */
import t from 'tap'
import { SECRET_SVID, TYPE_URLS, type XdsResource } from '../../../../../common/xds.ts'
import { toXdsResource } from '../../../../../common/xds-snapshot.ts'
import {
  effectiveSnapshot,
  forgetRefusals,
  forgetRefusalsOf,
  lastGood,
  noteAcked,
  noteNacked,
  noteSent,
  type Resources,
  refuseUnanswered,
  startStore,
  transientRefusals,
  type XdsStore,
} from '../../../../../sidecar/core/xds/store.ts'

const { listener, secret } = TYPE_URLS
const v = (text: string, name = 'l') => toXdsResource(name, Buffer.from(text))
const one = v('1')
const two = v('2')

function wanting(...list: readonly XdsResource[]): Resources {
  return new Map([[listener, new Map(list.map((r) => [r.name, r]))]])
}
function sent(store: XdsStore, resource: XdsResource): XdsStore {
  return noteSent(store, {
    kind: 'send',
    typeUrl: listener,
    resources: [resource],
    removed: [],
    nonce: '1',
    systemVersion: '',
  })
}
const versions = (r: XdsResource) => new Map([[r.name, r.version]])
const acked = (store: XdsStore, r: XdsResource) => noteAcked(sent(store, r), listener, versions(r))
const nacked = (store: XdsStore, r: XdsResource, message = 'bad') =>
  noteNacked(sent(store, r), listener, versions(r), message)
const served = (desired: Resources, store: XdsStore) =>
  effectiveSnapshot(desired, store, undefined).resources.get(listener)?.get('l')?.version

t.test('serves the newest', async (t) => {
  t.equal(served(wanting(two), acked(startStore(new Map()), one)), two.version)
})

t.test('serves the last good in place of what was refused', async (t) => {
  const store = nacked(acked(startStore(new Map()), one), two)
  t.equal(served(wanting(two), store), one.version)
})

t.test('serves nothing where nothing was ever good', async (t) => {
  t.equal(served(wanting(one), nacked(startStore(new Map()), one)), undefined)
})

t.test('does not withdraw the last good because it was refused once more', async (t) => {
  const store = nacked(acked(startStore(new Map()), one), one)
  t.equal(served(wanting(one), store), one.version)
})

t.test('a last good that is refused too does not bring the refused newest back', async (t) => {
  const store = nacked(nacked(acked(startStore(new Map()), one), two), one)
  t.equal(served(wanting(two), store), one.version)
})

t.test('an ACK clears the refusal of its version only', async (t) => {
  const store = nacked(startStore(new Map()), two)
  t.equal(served(wanting(two), acked(store, two)), two.version)
  t.equal(served(wanting(two), acked(store, one)), one.version)
})

t.test('an ACK of a version that was not sent is nothing', async (t) => {
  const store = noteAcked(sent(startStore(new Map()), one), listener, versions(two))
  t.same(store.accepted, new Map())
})

t.test('starts with the cache as last good', async (t) => {
  const store = nacked(startStore(wanting(one)), two)
  t.equal(served(wanting(two), store), one.version)
})

t.test('takes what Envoy died of, and never answered, for refused', async (t) => {
  const store = refuseUnanswered(acked(startStore(new Map()), one), wanting(two), 'SIGSEGV')
  t.equal(served(wanting(two), store), one.version)
  t.match([...store.refused.values()], [{ message: 'envoy exited: SIGSEGV' }])
  t.equal(served(wanting(one), refuseUnanswered(store, wanting(one), 'x')), one.version)
})

t.test('a new Envoy is asked again', async (t) => {
  const store = forgetRefusals(nacked(startStore(new Map()), one))
  t.equal(served(wanting(one), store), one.version)
})

t.test('finds refusals whose reason may pass', async (t) => {
  const bind = nacked(startStore(new Map()), one, "cannot bind '127.0.0.1:80': Address in use")
  t.same(transientRefusals(bind), new Map([[listener, ['l']]]))
  t.same(transientRefusals(nacked(startStore(new Map()), one)), new Map())
  const dead = refuseUnanswered(startStore(new Map()), wanting(one), 'SIGKILL')
  t.same(transientRefusals(dead), new Map([[listener, ['l']]]), 'nothing to fall back on')
  const fallback = refuseUnanswered(acked(startStore(new Map()), one), wanting(two), 'SIGKILL')
  t.same(transientRefusals(fallback), new Map())
  t.same(forgetRefusalsOf(bind, listener, ['l']).refused, new Map())
  t.equal(forgetRefusalsOf(bind, listener, ['other']).refused.size, 1)
})

t.test(
  'the workload’s own secret is ours, whatever the controller sends under its name',
  async (t) => {
    const own = v('own', SECRET_SVID)
    const foreign = v('foreign', SECRET_SVID)
    const desired: Resources = new Map([[secret, new Map([[SECRET_SVID, foreign]])]])
    const store = startStore(new Map())
    const snapshot = effectiveSnapshot(desired, store, own)
    t.equal(snapshot.resources.get(secret)?.get(SECRET_SVID)?.version, own.version)
    t.equal(effectiveSnapshot(desired, store, undefined).resources.size, 0)
    t.equal(effectiveSnapshot(new Map(), store, own).resources.get(secret)?.size, 1)
  },
)

t.test('keeps the last good of what is still wanted, and never the own secret', async (t) => {
  let store = nacked(acked(startStore(new Map()), one), two)
  store = acked(store, v('gone', 'gone'))
  t.same([...(lastGood(wanting(two), store).get(listener)?.values() ?? [])], [one])
  const secrets: Resources = new Map([[secret, new Map([[SECRET_SVID, v('x', SECRET_SVID)]])]])
  t.equal(lastGood(secrets, startStore(secrets)).size, 0)
})
