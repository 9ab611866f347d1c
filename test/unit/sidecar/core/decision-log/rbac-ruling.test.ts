import t from 'tap'
import { nameRuling } from '../../../../../sidecar/core/decision-log/rbac-ruling.ts'
import { makePolicy, makeSet } from '../../../../kit/check.ts'

const ALLOWS = makeSet([makePolicy({ name: 'p', rules: [] })])
const NONE = makeSet([makePolicy({ name: 'd', action: 'DENY', rules: [] })])

t.test('a rule names its policy', async (t) => {
  const rule = 'shop/p/rules[12]'
  t.same(nameRuling({ allowed: true, name: rule }, ALLOWS), {
    policy: 'shop/p',
    rule,
    reason: 'matched',
  })
})

t.test('a policy that was required refuses by not matching', async (t) => {
  t.same(nameRuling({ allowed: false, name: 'shop/p' }, ALLOWS), {
    policy: 'shop/p',
    reason: 'not-matched',
  })
  t.same(nameRuling({ allowed: false, name: 'shop/d' }, NONE), {
    policy: 'shop/d',
    reason: 'matched',
  })
  t.same(nameRuling({ allowed: false, name: 'shop/x' }, undefined), {
    policy: 'shop/x',
    reason: 'matched',
  })
})

t.test('no name is the default, for the reason that the set has', async (t) => {
  for (const name of [undefined, 'none', 'default']) {
    t.same(nameRuling({ allowed: true, name }, NONE), {
      policy: 'default',
      reason: 'default-allow',
    })
    t.same(nameRuling({ allowed: false, name }, NONE), {
      policy: 'default',
      reason: 'default-deny',
    })
    t.same(nameRuling({ allowed: false, name }, ALLOWS), {
      policy: 'default',
      reason: 'not-matched',
    })
  }
})
