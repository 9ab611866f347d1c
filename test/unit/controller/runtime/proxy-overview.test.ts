import t from 'tap'
import type { XdsSnapshot } from '../../../../common/xds.ts'
import { TYPE_URLS } from '../../../../common/xds.ts'
import type { Given } from '../../../../controller/runtime/history.ts'
import { toOverview } from '../../../../controller/runtime/proxy-overview.ts'
import { stateOfUnknown } from '../../../../controller/runtime/proxy-table.ts'

const snapshot: XdsSnapshot = { version: 'g2', resources: new Map(), requires: ['a', 'b'] }
// Only what is read of it.
const newest = {
  snapshot,
  bundle: { revision: 'r2', requires: ['b', 'c'] },
  sinceMs: 1000,
} as unknown as Given
const state = { ...stateOfUnknown('shop/web/uid'), connected: true, features: ['a'] }
const current = { ...state, enforcedGeneration: 'g2', bundleRevision: 'r2' }

t.test('a proxy that enforces the newest has no lag', async (t) => {
  const overview = toOverview(current, newest, { sync: [], nowMs: 5000 })
  t.match(overview, { workload: 'shop/web', newestGeneration: 'g2', newestRevision: 'r2' })
  t.notOk('lagSeconds' in overview)
})

t.test('an ACK is not enforcement: lag lasts until both are in force', async (t) => {
  const acked = { ...state, ackedGeneration: 'g2', enforcedGeneration: 'g1', bundleRevision: 'r2' }
  t.equal(toOverview(acked, newest, { sync: [], nowMs: 5400 }).lagSeconds, 4)
  const noBundle = { ...current, bundleRevision: 'r1' }
  t.equal(toOverview(noBundle, newest, { sync: [], nowMs: 500 }).lagSeconds, 0, 'never negative')
})

t.test('names what it would have to know, if it is there to ask', async (t) => {
  const known = { sync: [], nowMs: 0 }
  t.same(toOverview(state, newest, known).missingFeatures, ['b', 'c'])
  t.same(toOverview({ ...state, connected: false }, newest, known).missingFeatures, [])
  t.match(toOverview(state, undefined, known), { newestGeneration: '', missingFeatures: [] })
})

t.test('types have short names, and seconds since when they are behind', async (t) => {
  const sync = [
    { typeUrl: TYPE_URLS.cluster, status: 'SYNCED' },
    { typeUrl: TYPE_URLS.listener, status: 'STALE', sinceMs: 2000 },
    { typeUrl: 'x', status: 'NOT SENT', sinceMs: 9000 },
  ]
  t.same(toOverview(state, newest, { sync, nowMs: 5000 }).sync, {
    cluster: { status: 'SYNCED' },
    listener: { status: 'STALE', seconds: 3 },
    x: { status: 'NOT SENT', seconds: 0 },
  })
})
