/** Ready, enforced, and why not: one row for each part that may be missing. */
import t from 'tap'
import { type ReadinessInput, readinessOf } from '../../../../sidecar/core/readiness.ts'

const good: ReadinessInput = {
  isAnswering: true,
  hasIdentity: true,
  isSocketBound: true,
  progress: { generation: 'g2', isAccepted: true, listeners: 'there', refusals: [] },
  envoy: {
    running: true,
    live: true,
    version: '1.40.0',
    warming: 0,
    draining: 0,
    workersStarted: true,
    reason: '',
    trouble: '',
    isStopping: false,
  },
  bundleRevision: 'b',
  bundleProblem: undefined,
  notices: [],
  enforcedBefore: 'g1',
}
const { envoy, progress } = good

t.test('all well', async (t) => {
  t.same(readinessOf(good), { ready: true, enforcedGeneration: 'g2', detail: '' })
})

t.test('what is missing makes it not ready', async (t) => {
  const rows: [Partial<ReadinessInput>, RegExp][] = [
    [{ hasIdentity: false }, /no identity/],
    [{ envoy: { ...envoy, live: false } }, /starting/],
    [{ envoy: { ...envoy, warming: 1 }, enforcedBefore: '' }, /warming/],
    [
      { envoy: { ...envoy, running: false, live: false, reason: 'SIGSEGV' } },
      /not running: SIGSEGV/,
    ],
    [{ envoy: { ...envoy, isStopping: true } }, /draining, and takes nothing new/],
    [{ bundleRevision: undefined }, /no policy bundle/],
    [{ isAnswering: false }, /being replaced/],
    [{ isSocketBound: false }, /socket for envoy is gone/],
    [{ enforcedBefore: '', progress: { ...progress, listeners: 'open' } }, /no listeners yet/],
  ]
  for (const [part, detail] of rows) {
    const readiness = readinessOf({ ...good, ...part })
    t.equal(readiness.ready, false, String(detail))
    t.match(readiness.detail, detail)
  }
  t.equal(readinessOf({ ...good, envoy: { ...envoy, workersStarted: false } }).ready, false)
})

t.test('a generation is not enforced while something of it is open, warms or drains', async (t) => {
  const rows: [Partial<ReadinessInput>, RegExp][] = [
    [{ progress: { ...progress, isAccepted: false } }, /not taken all/],
    [
      { progress: { ...progress, isAccepted: false, refusals: ['Listener l: bad'] } },
      /^Listener l: bad$/,
    ],
    [{ envoy: { ...envoy, warming: 1 } }, /warming/],
    [{ envoy: { ...envoy, draining: 1 } }, /draining/],
  ]
  for (const [part, detail] of rows) {
    const readiness = readinessOf({ ...good, ...part })
    t.equal(readiness.enforcedGeneration, 'g1', String(detail))
    t.match(readiness.detail, detail)
  }
})

t.test('says why the newest bundle is not active, and goes on with the one before', async (t) => {
  const readiness = readinessOf({ ...good, bundleProblem: 'ERR_BUNDLE_INVALID: digest' })
  t.match(readiness, { ready: true, detail: 'policy bundle: ERR_BUNDLE_INVALID: digest' })
})

t.test('while Envoy keeps dying that is said, whether one runs or not', async (t) => {
  for (const running of [true, false]) {
    const { detail } = readinessOf({ ...good, envoy: { ...envoy, running, trouble: 'SIGSEGV' } })
    t.match(detail, /keeps dying and is started again, ever later: SIGSEGV/)
  }
})

t.test('what would hinder later is said now', async (t) => {
  const readiness = readinessOf({ ...good, notices: ['a', 'b'] })
  t.match(readiness, { ready: true, enforcedGeneration: 'g2', detail: 'a; b' })
})

t.test('draining does not make it unready', async (t) => {
  t.equal(readinessOf({ ...good, envoy: { ...envoy, draining: 1 } }).ready, true)
})

t.test('a listener that is being added does not make it unready', async (t) => {
  t.equal(readinessOf({ ...good, envoy: { ...envoy, warming: 1 } }).ready, true)
  const adding = { ...progress, isAccepted: false, listeners: 'open' as const }
  t.equal(readinessOf({ ...good, progress: adding }).ready, true)
})

t.test(
  'an Envoy that has refused all the listeners that it should have is not ready',
  async (t) => {
    const refusals = ['Listener inbound/80: cannot bind']
    const lost = { ...progress, isAccepted: false, listeners: 'missing' as const, refusals }
    t.match(readinessOf({ ...good, progress: lost }), {
      ready: false,
      enforcedGeneration: 'g1',
      detail:
        'envoy has none of the listeners that it should have; Listener inbound/80: cannot bind',
    })
  },
)

t.test('a dead Envoy enforces nothing', async (t) => {
  const dead = { ...envoy, running: false, live: false, reason: 'x' }
  t.equal(readinessOf({ ...good, envoy: dead }).enforcedGeneration, '')
})
