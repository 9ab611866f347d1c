/** The fine print of declarative rules (DESIGN §4), sentence by sentence. */
import t from 'tap'
import { matchPolicyRules } from '../../../../common/authz/evaluate.ts'
import type { RequestAttributes } from '../../../../common/authz/request.ts'
import type { PolicyAction, Rule } from '../../../../common/policy-set.ts'
import {
  header,
  is,
  makePolicy,
  NO_TERM,
  not,
  operation,
  REGO,
  source,
} from '../../../kit/policies.ts'

const DOMAINS = { trustDomain: 'td', trustDomainAliases: ['old'] }
const REQUEST: RequestAttributes = {
  protocol: 'http',
  principal: 'spiffe://td/ns/a/sa/web',
  sourceAddress: '10.1.2.3',
  destinationPort: 8080,
  method: 'GET',
  path: '/a/b?q=1',
  host: 'API.example.com.:8443',
  headers: { 'x-tenant': 'blue' },
}

function matches(
  rule: Partial<Rule>,
  given: Partial<RequestAttributes> | { principal?: undefined } = {},
  action: PolicyAction = 'ALLOW',
): boolean {
  const request = { ...REQUEST, ...given }
  return matchPolicyRules(makePolicy({ action, rules: [rule] }), request, DOMAINS).matched
}

const from = (given: Parameters<typeof source>[0]) => ({ from: [source(given)] })
const to = (given: Parameters<typeof operation>[0]) => ({ to: [operation(given)] })
const when = (values: ReturnType<typeof is>) => ({ when: [header('x-tenant', values)] })

t.test('a policy without rules, with an empty list, with an empty rule', async (t) => {
  const ask = (given: Parameters<typeof makePolicy>[0]) =>
    matchPolicyRules(makePolicy(given), REQUEST, DOMAINS)
  t.same(ask({}), { matched: false }, 'neither rules nor rego: nothing')
  t.same(ask({ rego: REGO }), { matched: true }, 'rego alone: always')
  t.same(ask({ rules: [] }), { matched: false })
  t.same(ask({ rules: [], rego: REGO }), { matched: false })
  t.same(ask({ rules: [{}] }), { matched: true, rule: 'ns/p/rules[0]' }, '[{}]: everything')
  t.same(ask({ rules: [to({ methods: is('PUT') }), {}] }), {
    matched: true,
    rule: 'ns/p/rules[1]',
  })
})

t.test('one of from, one of to, all of when', async (t) => {
  const rule = {
    from: [source({ namespaces: is('x') }), source({ principals: is('*/sa/web') })],
    to: [operation({ methods: is('PUT') }), operation({ paths: is('/a/*') })],
    when: [header('x-tenant', is('blue')), header('x-tenant', not('red'))],
  }
  t.ok(matches(rule))
  t.notOk(matches(rule, { path: '/b' }))
  t.notOk(matches(rule, { headers: { 'x-tenant': 'red' } }))
  t.notOk(matches(rule, { principal: 'spiffe://td/ns/a/sa/other' }))
  const both = to({ paths: { is: is('/a/*').is, not: not('*/c').not } })
  t.ok(matches(both))
  t.notOk(matches(both, { path: '/a/c' }), 'value and not-value must both hold')
})

t.test('values are literal: exact, prefix, suffix, presence', async (t) => {
  t.ok(matches(to({ paths: is('/a/b') })), 'the query does not count')
  t.notOk(matches(to({ paths: is('/a/.') })), 'a dot is a dot')
  t.ok(matches(to({ paths: is('/a*') }), { path: '/ab' }), 'a prefix ends where it ends')
  t.notOk(matches(to({ paths: is('*=1') })), 'a suffix is not looked for in the query')
  t.notOk(matches(to({ paths: is('/a') }), { path: '/a;x' }), 'path parameters are text')
  t.ok(matches(to({ methods: is('GET') })))
  t.notOk(matches(to({ methods: is('GET') }), { method: 'get' }), 'methods as sent')
})

t.test('hosts without case, port and trailing dot', async (t) => {
  t.ok(matches(to({ hosts: is('api.example.com') })))
  t.ok(matches(to({ hosts: is('*.example.com') })))
  t.notOk(matches(to({ hosts: is('api.*') }), { host: 'api.' }), 'the trailing dot is cut off')
  t.notOk(matches(to({ hosts: is('kilo') }), { host: '\u212Ailo' }), 'only ASCII case')
})

t.test('ports', async (t) => {
  t.ok(matches(to({ ports: { is: [1, 8080], not: [] } })))
  t.notOk(matches(to({ ports: { is: [], not: [8080] } })))
  const key = { kind: 'destination.port' } as const
  t.ok(matches({ when: [{ key, values: is('8080') }] }))
  t.notOk(matches({ when: [{ key, values: not('8080') }] }))
})

t.test('source.ip is the address of the peer, beside what `from` says', async (t) => {
  const key = { kind: 'source.ip' } as const
  const when = (is: string[], not: string[] = []) => ({ when: [{ key, blocks: { is, not } }] })
  t.ok(matches(when(['10.1.0.0/16']), { sourceAddress: '10.1.2.3' }))
  t.ok(matches(when(['10.1.0.0/16']), { sourceAddress: '::ffff:10.1.2.3' }))
  t.notOk(matches(when(['10.1.0.0/16']), { sourceAddress: '10.2.2.3' }))
  t.notOk(matches(when([], ['10.1.0.0/16']), { sourceAddress: '10.1.2.3' }))
  t.notOk(matches(when(['10.1.0.0/16'], ['10.1.2.0/24']), { sourceAddress: '10.1.2.3' }))
  t.notOk(matches(when([], ['10.1.0.0/16']), { sourceAddress: undefined }), 'absent, in an ALLOW')
})

t.test('namespaces are those of this trust domain and its aliases', async (t) => {
  const rule = from({ namespaces: is('a') })
  t.ok(matches(rule))
  t.ok(matches(rule, { principal: 'spiffe://old/ns/a/sa/x' }))
  for (const id of ['far/ns/a/sa/x', 'td/ns/a/x/y', 'td/ns/ab/sa/x', 'td.far/ns/a/sa/x', 'td/a']) {
    t.notOk(matches(rule, { principal: `spiffe://${id}` }), id)
  }
  const denied = from({ namespaces: not('a') })
  t.notOk(matches(denied, { principal: 'spiffe://far/ns/b/sa/x' }), 'no namespace helps no ALLOW')
  t.ok(matches(denied, { principal: 'spiffe://far/ns/b/sa/x' }, 'DENY'), 'nor saves from a DENY')
  const key = { kind: 'source.namespace' } as const
  t.ok(matches({ when: [{ key, values: is('a') }] }))
  const principal = { kind: 'source.principal' } as const
  t.ok(matches({ when: [{ key: principal, values: is('spiffe://td/*') }] }))
})

t.test('addresses: IPv4-mapped is IPv4, no address is none', async (t) => {
  const rule = from({ ipBlocks: { is: ['10.0.0.0/8'], not: ['10.9.0.0/16'] } })
  t.ok(matches(rule))
  t.ok(matches(rule, { sourceAddress: '::ffff:10.1.2.3' }))
  t.notOk(matches(rule, { sourceAddress: '10.9.1.1' }))
  t.notOk(matches(rule, { sourceAddress: '2001:db8::1' }))
  t.notOk(matches(from({ ipBlocks: { is: ['::/0'], not: [] } })), 'IPv4 is in no IPv6 block')
  const others = from({ ipBlocks: { is: [], not: ['10.0.0.0/8'] } })
  t.notOk(matches(others, { sourceAddress: 'unix' }))
  t.ok(matches(others, { sourceAddress: 'unix' }, 'DENY'))
  const bad = from({ ipBlocks: { is: ['10.0.0.0/33'], not: [] } })
  t.throws(() => matches(bad), /not a CIDR block/)
})

t.test('absence is never a pass', async (t) => {
  const none: Partial<RequestAttributes> = { principal: undefined, headers: {} }
  const { host: _, ...hostless } = REQUEST
  const rules: readonly [string, Partial<Rule>, Partial<Rule>][] = [
    ['principal', from({ principals: is('*') }), from({ principals: not('spiffe://td/x') })],
    ['namespace', from({ namespaces: is('*') }), from({ namespaces: not('x') })],
    ['header', when(is('*')), when(not('red'))],
    ['presence', when(is('blue')), when(not('*'))],
  ]
  for (const [what, positive, negative] of rules) {
    for (const action of ['ALLOW', 'DENY', 'AUDIT'] as const) {
      t.notOk(matches(positive, none, action), `${what}, positive, ${action}`)
      t.equal(matches(negative, none, action), action !== 'ALLOW', `${what}, not, ${action}`)
    }
  }
  const hosts = makePolicy({ rules: [to({ hosts: not('x') })] })
  t.notOk(matchPolicyRules(hosts, hostless, DOMAINS).matched)
  t.ok(matchPolicyRules({ ...hosts, action: 'DENY' }, hostless, DOMAINS).matched)
  t.notOk(matches(from({ principals: is('*') }), { principal: '' }), 'empty is absent')
  t.ok(matches(when(not('red')), { headers: { 'x-tenant': '' } }, 'DENY'), 'an empty header too')
  t.notOk(matches({ when: [header('constructor', is('*'))] }), 'no header by inheritance')
})

t.test('on TCP an HTTP field never matches in an ALLOW and is dropped in a DENY', async (t) => {
  const tcp = { protocol: 'tcp' } as const
  const rules: readonly Partial<Rule>[] = [
    to({ methods: is('GET') }),
    to({ paths: not('/x') }),
    to({ hosts: is('api.example.com') }),
    when(is('blue')),
  ]
  for (const rule of rules) {
    t.notOk(matches(rule, tcp))
    t.ok(matches(rule, tcp, 'DENY'))
  }
  t.notOk(matches(to({ methods: is('GET'), ports: { is: [1], not: [] } }), tcp, 'DENY'))
  t.ok(matches(from({ namespaces: is('a') }), tcp))
  t.ok(matches({ when: [header('x', NO_TERM)] }, tcp), 'a condition without values says nothing')
})
