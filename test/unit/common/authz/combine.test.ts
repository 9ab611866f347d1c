/** What the truth table has no column for: laziness, names, mutations, the denial's object, TCP. */
import t from 'tap'
import { decide, type RegoOutcome } from '../../../../common/authz/combine.ts'
import type { RequestAttributes } from '../../../../common/authz/request.ts'
import { comparePolicies, type Policy, policyId } from '../../../../common/policy-set.ts'
import { is, makePolicy, makeSet, operation, REGO } from '../../../kit/policies.ts'

const REQUEST: RequestAttributes = {
  protocol: 'http',
  principal: undefined,
  sourceAddress: '127.0.0.1',
  destinationPort: 80,
  path: '/x',
}
const MATCH = [{}]
const MISS = [{ to: [operation({ paths: is('/other') })] }]

const yes: RegoOutcome = { kind: 'result', allowed: true }
const no: RegoOutcome = { kind: 'result', allowed: false }
const refusal: RegoOutcome = { kind: 'result', allowed: false, object: { http_status: 402 } }
const error: RegoOutcome = { kind: 'error', code: 'ERR_POLICY_TIMEOUT', message: 'too long' }

function run(
  policies: readonly Policy[],
  says: Readonly<Record<string, RegoOutcome>> = {},
  given: Partial<RequestAttributes> = {},
) {
  const asked: string[] = []
  const set = makeSet([...policies].sort(comparePolicies))
  const decision = decide(set, { ...REQUEST, ...given }, (policy) => {
    asked.push(policy.name)
    return says[policy.name] ?? no
  })
  return { ...decision, asked }
}

const allow = (name: string, given: Parameters<typeof makePolicy>[0] = {}) =>
  makePolicy({ name, ...given })
const deny = (name: string, given: Parameters<typeof makePolicy>[0] = {}) =>
  makePolicy({ name, action: 'DENY', ...given })

t.test('Rego is asked only when it can matter', async (t) => {
  t.same(run([allow('a', { rules: MISS, rego: REGO })]).asked, [])
  t.same(run([deny('a', { rules: MATCH }), deny('b', { rego: REGO })]).asked, [])
  t.same(run([deny('a', { rego: REGO }), allow('b', { rego: REGO })], { a: yes }).asked, ['a'])
  t.same(
    run([allow('a', { required: true, rules: MISS }), allow('b', { rego: REGO })]).asked,
    [],
    'a required policy can not be outvoted',
  )
  const recorded = makePolicy({ name: 's', mode: 'Shadow', rego: REGO })
  t.same(run([deny('a', { rules: MATCH }), recorded]).asked, [], 'nor is a record made of a DENY')
})

t.test('all matching ALLOW policies are named, in name order', async (t) => {
  const policies = [
    allow('c', { rego: REGO }),
    allow('a', { rules: MATCH }),
    allow('b', { rules: MISS }),
    allow('d', { rego: REGO }),
  ]
  const decision = run(policies, { c: yes, d: no })
  t.same(decision.matchedAllow, ['ns/a', 'ns/c'])
  t.match(decision, { allowed: true, policy: 'ns/a', rule: 'ns/a/rules[0]', reason: 'matched' })
  t.same([...decision.outcomes.keys()], ['ns/c', 'ns/d'])
  t.same(run(policies, { c: error }).matchedAllow, [], 'none when it is denied')
})

t.test('the first object that says no gives the denial', async (t) => {
  const regos = ['a', 'b', 'c'].map((name) => allow(name, { rego: REGO }))
  t.match(run(regos, { a: no, b: refusal, c: refusal }), { denial: 'ns/b', policy: 'ns/b' })
  t.equal(run(regos, { a: no }).denial, undefined)
  t.equal(run(regos, { a: refusal, b: yes }).denial, undefined, 'not when another one allows')
  const required = allow('b', { required: true, rules: MISS })
  t.match(run([allow('a', { rego: REGO }), required], { a: refusal }), {
    policy: 'ns/b',
    denial: 'ns/a',
  })
  t.match(run([deny('z', { rego: REGO }), ...regos], { z: yes, a: refusal }), {
    policy: 'ns/z',
    denial: 'ns/z',
  })
})

t.test('an error has a code and no object', async (t) => {
  const decision = run([deny('a', { rules: MATCH, rego: REGO })], { a: error })
  t.match(decision, {
    allowed: false,
    policy: 'ns/a',
    rule: 'ns/a/rules[0]',
    reason: 'ERR_POLICY_TIMEOUT',
    error: { code: 'ERR_POLICY_TIMEOUT', message: 'too long' },
    denial: undefined,
  })
  const open = run([allow('a', { rego: REGO, onError: 'Allow' })], { a: error })
  t.match(open, { allowed: true, reason: 'ERR_POLICY_TIMEOUT', failedOpen: ['ns/a'] })
})

t.test('a recorded policy that fails changes nothing', async (t) => {
  const shadow = makePolicy({ name: 's', action: 'DENY', mode: 'Shadow', rego: REGO })
  const decision = run([allow('a', { rules: MATCH }), shadow], { s: error })
  t.match(decision, { allowed: true, shadow: ['ns/s'], failedOpen: [] })
  const open = run([allow('a', { rules: MATCH }), { ...shadow, onError: 'Allow' }], { s: error })
  t.match(open, { allowed: true, shadow: [], failedOpen: [] })
})

t.test('on TCP no Rego is asked', async (t) => {
  const tcp = { protocol: 'tcp' } as const
  t.match(run([allow('a', { rego: REGO })], { a: yes }, tcp), { allowed: false, asked: [] })
  t.match(run([deny('a', { rego: REGO }), allow('b', { rules: MATCH })], {}, tcp), {
    allowed: false,
    policy: 'ns/a',
    asked: [],
  })
})

t.test('policies are ordered by action, namespace, name', async (t) => {
  const policies = [
    makePolicy({ name: 'b' }),
    makePolicy({ name: 'a' }),
    makePolicy({ name: 'z', namespace: 'm' }),
    makePolicy({ name: 'x', action: 'AUDIT' }),
    makePolicy({ name: 'y', action: 'DENY' }),
    makePolicy({ name: 'a' }),
  ]
  const ids = policies.toSorted(comparePolicies).map(policyId)
  t.same(ids, ['ns/y', 'ns/x', 'm/z', 'ns/a', 'ns/a', 'ns/b'])
})
