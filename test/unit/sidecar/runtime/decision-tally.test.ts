import t from 'tap'
import { DecisionTally, TallySheet } from '../../../../sidecar/runtime/decision-tally.ts'
import { makePolicy, makeSet } from '../../../kit/check.ts'

const setOf = (...names: string[]) => makeSet(names.map((name) => makePolicy({ name })))
const decision = (policy: string, allowed: boolean, more: object = {}) => ({
  lane: 'wasm' as const,
  verdict: { allowed, policy, shadow: [], failedOpen: [], ...more },
  metrics: { timer_server_handler_ns: 90_000 },
})

t.test('what one thread counts, the other reads', async (t) => {
  const set = setOf('a', 'b')
  const sheet = new TallySheet(set)
  const other = new TallySheet(set, sheet.memory)
  other.count(decision('shop/a', true))
  other.count(decision('shop/b', false, { shadow: ['shop/a'], failedOpen: ['shop/b'] }))
  other.count(decision('', false, { error: { code: 'ERR_NO_BUNDLE', message: '' } }))
  const failed = { error: { code: 'ERR_POLICY_ERROR', message: '' }, failedOpen: ['shop/b'] }
  other.count(decision('shop/a', true, failed))
  sheet.count({ ...decision('default', false), lane: 'rbac', metrics: {} })
  const { policies, errors, durations, durationSumSeconds } = sheet.read()
  t.equal(errors.get('ERR_POLICY_ERROR'), 0, 'nobody was refused for it')
  t.match(policies.get('shop/a'), { 'wasm allow': 2, shadow: 1, 'wasm deny': 0 })
  t.match(policies.get('shop/b'), { 'wasm deny': 1, 'failed open': 2 })
  t.match(policies.get('none'), { 'wasm deny': 1 })
  t.match(policies.get('default'), { 'rbac deny': 1, 'wasm deny': 0 })
  t.equal(errors.get('ERR_NO_BUNDLE'), 1)
  t.same(durations.slice(0, 3), [0, 4, 0], 'Envoy’s own decisions took the sidecar no time')
  t.equal(durationSumSeconds, 0.00036)
})

t.test(
  'a new set keeps the counts of the policies that stayed, and forgets the others',
  async (t) => {
    const tally = new DecisionTally()
    tally.count(decision('', false))
    tally.turnTo(new TallySheet(setOf('a', 'gone')))
    tally.count(decision('shop/a', true))
    tally.count(decision('shop/gone', false))
    tally.turnTo(new TallySheet(setOf('a', 'new')))
    tally.count(decision('shop/a', true))
    const { policies, durations } = tally.read()
    t.equal(policies.get('shop/a')?.['wasm allow'], 2)
    t.equal(policies.get('none')?.['wasm deny'], 1)
    t.notOk(policies.has('shop/gone'))
    t.ok(policies.has('shop/new'))
    t.equal(durations[1], 4, 'times are of all sets')
  },
)

t.test('rows are bounded, whatever names come', async (t) => {
  const names = Array.from({ length: 300 }, (_, i) => `p${String(i).padStart(3, '0')}`)
  const sheet = new TallySheet(setOf(...names))
  for (const name of names) sheet.count(decision(`shop/${name}`, true))
  sheet.count(decision('shop/of-a-set-before', true))
  sheet.count(decision('shop/p000', false, { error: { code: 'ERR_UNHEARD_OF', message: '' } }))
  const { policies, errors } = sheet.read()
  t.equal(policies.size, 206)
  t.equal(policies.get('other')?.['wasm allow'], 101)
  t.equal(errors.get('other'), 1)
})
