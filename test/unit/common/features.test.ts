import t from 'tap'
import {
  FEATURES,
  featuresOfPolicy,
  missingFeatures,
  parseFeatures,
  whyOlder,
  withRequires,
} from '../../../common/features.ts'
import type { Policy, PolicySet } from '../../../common/policy-set.ts'

const plain: Policy = {
  namespace: 'shop',
  name: 'p',
  action: 'DENY',
  mode: 'Enforce',
  required: false,
  onError: 'Deny',
  rules: [{ id: 'shop/p/rules[0]', from: [], to: [], when: [] }],
}
const byAddress: Policy = {
  ...plain,
  name: 'q',
  rules: [
    {
      id: 'shop/q/rules[0]',
      from: [],
      to: [],
      when: [{ key: { kind: 'source.ip' }, blocks: { is: ['10.0.0.0/8'], not: [] } }],
    },
  ],
}
const set: PolicySet = {
  workload: 'shop/orders',
  trustDomain: 'td',
  defaultAction: 'DENY',
  defaultMode: 'Enforce',
  policies: [plain],
}

t.test('a set says what it needs, and nothing when 0.1 understands it', async (t) => {
  t.same(withRequires(set), set)
  t.same(withRequires({ ...set, policies: [byAddress, plain] }).requires, ['when/source.ip'])
  t.same(featuresOfPolicy({ ...plain, rules: [] }), [])
})

t.test('what is needed and not known is missing', async (t) => {
  t.same(missingFeatures(undefined, []), [])
  t.same(missingFeatures(['a', 'b'], ['b', 'c']), ['a'])
  t.same(missingFeatures(FEATURES, FEATURES), [])
})

t.test('who enforces what the controller does not know keeps it', async (t) => {
  t.equal(whyOlder([], []), undefined)
  t.equal(whyOlder(undefined, []), undefined)
  t.equal(whyOlder(['a'], ['a', 'b']), undefined)
  t.match(whyOlder(['a', 'b'], ['b']), /does not know a, which is in force here: it is older/)
})

t.test('a peer’s list is read with care', async (t) => {
  t.same(parseFeatures('b, a,,a'), ['a', 'b'])
  t.same(parseFeatures(['x/y', 7, ' ', 'new\nline', 'z'.repeat(65)]), ['x/y'])
  for (const none of [undefined, null, 7, {}, '']) t.same(parseFeatures(none), [])
  t.equal(parseFeatures(Array.from({ length: 1000 }, (_, i) => `t${i}`)).length, 256)
})
