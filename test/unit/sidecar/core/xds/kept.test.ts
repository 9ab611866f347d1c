/** Make before break: what an edit takes away stays until what came in its place is proven. */
import { create, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { TYPE_URLS, type TypeUrl, type XdsResource } from '../../../../../common/xds.ts'
import { toXdsResource } from '../../../../../common/xds-snapshot.ts'
import { ListenerSchema } from '../../../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import {
  keepsInbound,
  noteDesired,
  type Resources,
  releaseKept,
  withoutInbound,
} from '../../../../../sidecar/core/xds/kept.ts'
import {
  effectiveSnapshot,
  lastGood,
  noteNacked,
  startStore,
  type XdsStore,
} from '../../../../../sidecar/core/xds/store.ts'

const { cluster, extensionConfig, listener } = TYPE_URLS

function onPort(name: string, port: number, content = ''): XdsResource {
  const portSpecifier = { case: 'portValue' as const, value: port }
  const address = { case: 'socketAddress' as const, value: { address: '0.0.0.0', portSpecifier } }
  const value = create(ListenerSchema, { name, address: { address }, statPrefix: content })
  return toXdsResource(name, toBinary(ListenerSchema, value))
}
const other = (name: string, content = 'x') => toXdsResource(name, Buffer.from(content))

const old = onPort('inbound/10', 10)
const fresh = onPort('inbound/50', 50)
const outbound = onPort('outbound/30', 30)

function all(
  listeners: readonly XdsResource[],
  more: Partial<Record<TypeUrl, XdsResource[]>> = {},
) {
  const lists = Object.entries({ ...more, [listener]: listeners }) as [TypeUrl, XdsResource[]][]
  return new Map(lists.map(([type, list]) => [type, new Map(list.map((r) => [r.name, r]))]))
}
const served = (desired: Resources, store: XdsStore, type: TypeUrl = listener) =>
  [...(effectiveSnapshot(desired, store, undefined).resources.get(type)?.keys() ?? [])].sort()
const refuse = (store: XdsStore, { name, version }: XdsResource) =>
  noteNacked(store, listener, new Map([[name, version]]), 'cannot bind')

const before = all([old, outbound])
const after = all([fresh, outbound])
const edited = noteDesired(startStore(before), before, after)

t.test('a listener that is replaced stays beside the new one until that is proven', async (t) => {
  t.same(served(after, edited), ['inbound/10', 'inbound/50', 'outbound/30'])
  t.same(served(after, refuse(edited, fresh)), ['inbound/10', 'outbound/30'], 'refused')
  t.same([...(lastGood(after, edited).get(listener)?.keys() ?? [])].sort(), [
    'inbound/10',
    'outbound/30',
  ])
  const waiting = releaseKept(edited, () => false)
  t.same(served(after, waiting), ['inbound/10', 'inbound/50', 'outbound/30'])
  const released = releaseKept(edited, (name) => name === 'inbound/50')
  t.same(served(after, released), ['inbound/50', 'outbound/30'])
})

t.test('what is taken away without a replacement goes at once', async (t) => {
  const none = all([outbound])
  t.same(served(none, noteDesired(startStore(before), before, none)), ['outbound/30'])
  const onlyOut = all([onPort('outbound/31', 31)])
  t.same(
    served(onlyOut, noteDesired(startStore(before), before, onlyOut)),
    ['outbound/30', 'outbound/31'],
    'an outbound one is no replacement for an inbound one',
  )
})

t.test('what was refused long before holds nothing back', async (t) => {
  const two = all([old, onPort('inbound/11', 11), fresh])
  const store = refuse(startStore(all([old, onPort('inbound/11', 11)])), fresh)
  const one = all([old, fresh])
  t.same(served(one, noteDesired(store, two, one)), ['inbound/10'])
})

t.test('an edit of the edit: it waits for the newest, or goes with the last', async (t) => {
  const newest = onPort('inbound/60', 60)
  const again = all([newest, outbound])
  const store = noteDesired(refuse(edited, fresh), after, again)
  t.same(served(again, store), ['inbound/10', 'inbound/60', 'outbound/30'])
  const none = all([outbound])
  t.same(served(none, noteDesired(store, again, none)), ['outbound/30'])
  const back = noteDesired(refuse(edited, fresh), after, before)
  t.same(served(before, back), ['inbound/10', 'outbound/30'])
  t.equal(back.kept.size, 0)
})

t.test('a port that changes hands is not kept, but comes back when it is refused', async (t) => {
  const taken = onPort('inbound/11', 10)
  const desired = all([taken])
  const store = noteDesired(startStore(all([old])), all([old]), desired)
  t.same(served(desired, store), ['inbound/11'])
  t.same(served(desired, refuse(store, taken)), ['inbound/10'])
})

t.test('what a kept listener refers to stays with it, and goes with it', async (t) => {
  const had = all([old], { [cluster]: [other('inbound/10')] })
  const now = all([fresh], { [cluster]: [other('inbound/10'), other('inbound/50')] })
  const gone = all([fresh], { [cluster]: [other('inbound/50')] })
  const store = noteDesired(noteDesired(startStore(had), had, now), now, gone)
  t.same(served(gone, store, cluster), ['inbound/10', 'inbound/50'])
  const released = releaseKept(store, () => true)
  t.same(served(gone, released, cluster), ['inbound/50'])
})

t.test('a later change of rules, which it would not see, closes it', async (t) => {
  const rules = (content: string) => ({ [extensionConfig]: [other('authz/50/tls', content)] })
  const store = noteDesired(edited, all([fresh], rules('1')), all([fresh], rules('2')))
  t.same(served(all([fresh], rules('2')), store), ['inbound/50'])
  const same = noteDesired(edited, all([fresh], rules('1')), all([fresh], rules('1')))
  t.same(served(all([fresh], rules('1')), same), ['inbound/10', 'inbound/50'])
})

t.test('a port that stays and takes other connections ends what is kept beside it', async (t) => {
  const strict = all([onPort('inbound/50', 50, 'strict'), outbound])
  const store = noteDesired(refuse(edited, fresh), after, strict)
  t.same(served(strict, store), ['inbound/50', 'outbound/30'], 'inbound/10 would go on as before')
})

t.test('what waits too long goes, and only what decides', async (t) => {
  const both = all([fresh, onPort('outbound/31', 31)])
  const store = noteDesired(startStore(before), before, both)
  t.ok(keepsInbound(store))
  const left = withoutInbound(store)
  t.notOk(keepsInbound(left))
  t.same(served(both, left), ['inbound/50', 'outbound/30', 'outbound/31'])
  t.equal(withoutInbound(edited).kept.size, 0, 'nothing is left for anything')
})
