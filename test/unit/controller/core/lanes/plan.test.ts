/** Which lane a rule takes, and the reason that a reader is given. */
import t from 'tap'
import { planLanes } from '../../../../../controller/core/lanes/plan.ts'
import { header, is, makePolicy, makeSet, not, operation, REGO } from '../../../../kit/policies.ts'

const HOSTS = (...hosts: string[]) => ({ to: [operation({ hosts: is(...hosts) })] })

t.test('declarative rules are decided by Envoy', async (t) => {
  const plan = planLanes(makeSet([makePolicy({ rules: [{}, HOSTS('a.b', '*.c', 'api.*')] })]))
  t.match(plan, { mode: 'rbac', readsBody: false })
  t.same(
    plan.rules.map((r) => [r.id, r.lane]),
    [
      ['ns/p/rules[0]', 'rbac'],
      ['ns/p/rules[1]', 'rbac'],
    ],
  )
})

t.test('Rego, AUDIT and Shadow belong to the sidecar', async (t) => {
  const policies = [
    makePolicy({ name: 'r', rego: { ...REGO, readsBody: true } }),
    makePolicy({ name: 'a', action: 'AUDIT', rules: [{}] }),
    makePolicy({ name: 's', mode: 'Shadow', rules: [{}] }),
  ]
  for (const policy of policies) {
    const plan = planLanes(makeSet([policy]))
    t.equal(plan.mode, 'mixed')
    t.equal(plan.rules[0]?.lane, 'ext_authz')
    t.match(plan.rules[0]?.reason, /by the sidecar$/)
  }
  t.equal(planLanes(makeSet(policies)).readsBody, true)
})

t.test('what matches nothing needs nobody', async (t) => {
  const policies = [
    makePolicy({ name: 'a' }),
    makePolicy({ name: 'b', rules: [], rego: REGO }),
    makePolicy({ name: 'c', action: 'AUDIT' }),
  ]
  const plan = planLanes(makeSet(policies))
  t.equal(plan.mode, 'rbac')
  t.same(new Set(plan.rules.map((r) => r.id)), new Set(['ns/a', 'ns/b', 'ns/c']))
})

t.test('the default action has a lane when no ALLOW policy is there', async (t) => {
  t.match(planLanes(makeSet([])).rules, [{ id: 'default', lane: 'rbac' }])
  t.match(planLanes(makeSet([], { defaultMode: 'Shadow' })), {
    mode: 'mixed',
    rules: [{ id: 'default', lane: 'ext_authz' }],
  })
  const allowed = makeSet([], { defaultAction: 'ALLOW', defaultMode: 'Shadow' })
  t.equal(planLanes(allowed).mode, 'rbac', 'nothing would be denied')
})

t.test('a text that is not the same for Envoy stays with the sidecar', async (t) => {
  const bang = { kind: 'exact', value: 'a!' } as const
  const half = { kind: 'exact', value: '\ud800' } as const
  const literal = { kind: 'template', segments: [{ kind: 'literal', value: '\ud800' }] } as const
  const rules = [
    { when: [header('x', { is: [bang], not: [] })] },
    { when: [header('x', { is: [], not: [half] })] },
    { to: [operation({ methods: { is: [bang], not: [] } })] },
    { to: [operation({ paths: { is: [literal], not: [] } })] },
    HOSTS('a:80*'),
    HOSTS('a.'),
    HOSTS('*80'),
    HOSTS('a:80'),
  ]
  for (const rule of rules) {
    const plan = planLanes(makeSet([makePolicy({ rules: [rule, {}] })]))
    t.equal(plan.mode, 'mixed', JSON.stringify(rule))
    t.same(
      plan.rules.map((r) => r.lane),
      ['ext_authz', 'rbac'],
    )
  }
  const fine = [
    { to: [operation({ paths: is('/a!', '/b') })] },
    HOSTS('[::1]', '*'),
    { when: [header('x', not('é', '*'))] },
  ]
  for (const rule of fine) t.equal(planLanes(makeSet([makePolicy({ rules: [rule] })])).mode, 'rbac')
})
