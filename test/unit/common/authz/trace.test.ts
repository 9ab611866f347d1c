import t from 'tap'
import { decide, type RegoOutcome } from '../../../../common/authz/combine.ts'
import { matchPolicyRules } from '../../../../common/authz/evaluate.ts'
import type { RequestAttributes } from '../../../../common/authz/request.ts'
import { formatMatch, tracePolicies } from '../../../../common/authz/trace.ts'
import type { PolicySet } from '../../../../common/policy-set.ts'
import { type Random, seededRandom } from '../../../kit/differential/random.ts'
import { randomRequest } from '../../../kit/differential/random-request.ts'
import { randomSet } from '../../../kit/differential/random-set.ts'
import {
  header,
  is,
  makePolicy,
  makeSet,
  not,
  operation,
  REGO,
  source,
} from '../../../kit/policies.ts'

const request: RequestAttributes = {
  protocol: 'http',
  principal: 'spiffe://td/ns/a/sa/one',
  sourceAddress: '10.0.0.1',
  destinationPort: 80,
  method: 'GET',
  path: '/a?x',
  host: 'H:80',
  headers: { 'x-t': 'red' },
}
const nothing = new Map<string, RegoOutcome>()
const trace = (...policies: Parameters<typeof makePolicy>[0][]) =>
  tracePolicies(makeSet(policies.map((p) => makePolicy(p))), request, {
    policy: 'ns/p',
    outcomes: nothing,
  })
const misses = (
  rule: NonNullable<NonNullable<Parameters<typeof makePolicy>[0]>['rules']>[number],
) => trace({ rules: [rule] })[0]?.rules?.[0]?.misses

t.test('the first term that failed, of each alternative', async (t) => {
  t.same(
    misses({
      from: [
        source({ principals: is('spiffe://td/ns/b/*', 'x'), namespaces: is('c') }),
        source({ namespaces: is('b') }),
        source({ ipBlocks: { is: [], not: ['10.0.0.0/8'] } }),
      ],
      to: [operation({ methods: is('POST') })],
    }),
    [
      {
        field: 'from[0].source.principals',
        wants: ['spiffe://td/ns/b/*', 'x'],
        has: 'spiffe://td/ns/a/sa/one',
      },
      { field: 'from[1].source.namespaces', wants: ['b'], has: 'a' },
      { field: 'from[2].source.notIpBlocks', wants: ['10.0.0.0/8'], has: '10.0.0.1' },
    ],
    'what comes after `from` is not looked at',
  )
  t.same(
    misses({
      to: [
        operation({ methods: is('GET'), paths: not('/a*') }),
        operation({ ports: { is: [81], not: [] } }),
      ],
    }),
    [
      { field: 'to[0].operation.notPaths', wants: ['/a*'], has: '/a' },
      { field: 'to[1].operation.ports', wants: ['81'], has: '80' },
    ],
  )
  t.same(misses({ to: [operation({ hosts: is('*.com') })] }), [
    { field: 'to[0].operation.hosts', wants: ['*.com'], has: 'h' },
  ])
  t.same(
    misses({ when: [header('x-t', is('red')), header('x-u', is('*')), header('x-v', is('1'))] }),
    [{ field: 'when[1].values (request.headers[x-u])', wants: ['*'] }],
  )
})

t.test('verdicts: Rego that was asked, failed, or was not asked', async (t) => {
  const set = makeSet([
    makePolicy({ name: 'a', action: 'DENY', rules: [{}], rego: REGO }),
    makePolicy({ name: 'b', rules: [{}], rego: REGO }),
    makePolicy({ name: 'c', rules: [{}], rego: REGO }),
    makePolicy({ name: 'd', rego: REGO }),
    makePolicy({ name: 'e', rules: [] }),
    makePolicy({ name: 'f' }),
  ])
  const outcomes = new Map<string, RegoOutcome>([
    ['ns/a', { kind: 'undefined' }],
    ['ns/b', { kind: 'error', code: 'ERR_POLICY_ERROR', message: 'm' }],
    ['ns/c', { kind: 'result', allowed: true }],
  ])
  t.match(tracePolicies(set, request, { policy: 'ns/b', outcomes }), [
    { policy: 'ns/a', verdict: 'no match', rego: { kind: 'undefined' } },
    { policy: 'ns/b', verdict: 'error', decides: true },
    { policy: 'ns/c', verdict: 'match', decides: false },
    { policy: 'ns/d', verdict: 'not asked', rules: undefined },
    { policy: 'ns/e', verdict: 'no match', rules: [] },
    { policy: 'ns/f', verdict: 'no match' },
  ])
  const tcp = {
    protocol: 'tcp',
    principal: undefined,
    sourceAddress: '::1',
    destinationPort: 1,
  } as const
  t.match(tracePolicies(set, tcp, { policy: 'default', outcomes: nothing }), [
    { verdict: 'match' },
    { verdict: 'no match' },
  ])
})

function randomAttributes(random: Random): RequestAttributes {
  const { method, path, host, headers } = randomRequest(random)
  const principal = random.chance(0.2) ? undefined : 'spiffe://td/ns/a/sa/one'
  const joined = Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value]))
  return { ...request, principal, method, path, host, headers: joined }
}

/** Each rule's trace, with what the evaluator says of the rule alone. */
function traceAll(set: PolicySet, asked: RequestAttributes) {
  const decision = decide(set, asked, () => ({ kind: 'undefined' }))
  return tracePolicies(set, asked, decision).flatMap(({ rules = [] }, p) =>
    rules.map((rule, r) => {
      const policy = set.policies[p] ?? makePolicy()
      const alone = { ...policy, rules: policy.rules?.slice(r, r + 1) ?? [] }
      return { rule, matched: matchPolicyRules(alone, asked, set).matched }
    }),
  )
}

t.test('says of each rule what the evaluator says, and names a term where it fails', async (t) => {
  const random = seededRandom(21)
  const all = Array.from({ length: 200 }, () => {
    const set = randomSet(random, { ports: [80] })
    return Array.from({ length: 10 }, () => traceAll(set, randomAttributes(random))).flat()
  }).flat()
  const wrong = all.filter(
    ({ rule, matched }) => rule.matched !== matched || matched === rule.misses.length > 0,
  )
  t.same(wrong.slice(0, 2), [])
  t.ok(all.filter(({ matched }) => !matched).length > 1000, `${all.length} rules`)
})

t.test('values are written as users write them', async (t) => {
  const segments = [{ kind: 'literal', value: 'a' }, { kind: 'one' }, { kind: 'any' }] as const
  t.equal(formatMatch({ kind: 'template', segments }), '/a/{*}/{**}')
  t.equal(formatMatch({ kind: 'suffix', value: '.css' }), '*.css')
  t.equal(formatMatch({ kind: 'present' }), '*')
})
