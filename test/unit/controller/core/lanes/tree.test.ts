/** What the golden files don't show: determinism, odd keys, rules too wide for keys, and unreadable blocks. */
import { create, toBinary, toJsonString } from '@bufbuild/protobuf'
import t from 'tap'
import { buildHttpRbac } from '../../../../../controller/core/lanes/http-rbac.ts'
import { buildNetworkRbac } from '../../../../../controller/core/lanes/network-rbac.ts'
import { rbacRegistry } from '../../../../../controller/core/lanes/registry.ts'
import {
  type RBAC,
  RBACSchema,
} from '../../../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { MatcherSchema } from '../../../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import { is, makePolicy, makeSet, not, operation, REGO, source } from '../../../../kit/policies.ts'

const CHAIN = { port: 80, transport: 'tls' } as const

function bytes(rbac: RBAC): string {
  return Buffer.from(toBinary(RBACSchema, rbac)).toString('latin1')
}

t.test('equal sets are equal bytes, whatever the order of keys', async (t) => {
  const build = (...paths: string[]) =>
    bytes(
      buildHttpRbac(
        makeSet([makePolicy({ rules: [{ to: [operation({ paths: is(...paths) })] }] })]),
        CHAIN,
      ),
    )
  t.equal(build('/a', '/b', '/9*'), build('/9*', '/b', '/a', '/a'))
  t.not(build('/a', '/b'), build('/a', '/c'))
})

t.test('keys that an object can not have, or that say nothing, are tested as text', async (t) => {
  const policy = makePolicy({
    rules: [
      { to: [operation({ methods: is('__proto__'), paths: is('/x') })] },
      { to: [operation({ paths: { is: [{ kind: 'prefix', value: '' }], not: [] } })] },
    ],
  })
  const built = bytes(buildHttpRbac(makeSet([policy]), CHAIN))
  t.match(built, '__proto__')
})

t.test('a rule too wide for keys is one entry, not the product', async (t) => {
  const ids = Array.from({ length: 300 }, (_, i) => `spiffe://td/ns/a/sa/s${i}`)
  const paths = Array.from({ length: 300 }, (_, i) => `/p${i}`)
  const rule = {
    from: [source({ principals: is(...ids) })],
    to: [operation({ paths: is(...paths) })],
  }
  const size = bytes(buildHttpRbac(makeSet([makePolicy({ rules: [rule] })]), CHAIN)).length
  t.ok(size < 1_000_000, `${size} bytes`)
})

t.test('DENY rules are found by keys, also where a key only narrows down', async (t) => {
  const listed = (paths: readonly string[]) => {
    const rules = paths.map((p) => ({ to: [operation({ paths: is(p) })] }))
    const { matcher } = buildHttpRbac(makeSet([makePolicy({ action: 'DENY', rules })]), CHAIN)
    return toJsonString(MatcherSchema, matcher ?? create(MatcherSchema), { registry: rbacRegistry })
  }
  const guardsOnly = listed([]).split('"singlePredicate"').length
  const plain = listed(Array.from({ length: 100 }, (_, i) => `/p${i}`))
  t.equal(plain.split('"singlePredicate"').length, guardsOnly, 'nothing is left to test')
  const [narrowed = ''] = listed(['/v1/things:delete']).split('"onNoMatch"').slice(-2)
  t.match(narrowed, /prefixMatchMap":\{"map":\{"\/v1\/things":/, 'the text before the delimiter')
  t.match(narrowed, /\(\?:.*\|%3\[Aa\]\)delete/, 'and then both forms')
})

t.test('a block that can not be read is a bug of the maker of the set', async (t) => {
  const rule = { from: [source({ ipBlocks: { is: ['10.0.0.0/99'], not: [] } })] }
  t.throws(() => buildHttpRbac(makeSet([makePolicy({ rules: [rule] })]), CHAIN), /not a CIDR/)
})

t.test('on TCP a DENY with Rego alone denies everything', async (t) => {
  const policies = [
    makePolicy({ name: 'd', action: 'DENY', rego: REGO }),
    makePolicy({ name: 'a', rules: [{}] }),
  ]
  const { matcher } = buildNetworkRbac(makeSet(policies), { port: 80, transport: 'plaintext' })
  t.match(matcher, { matcherType: { case: undefined }, onNoMatch: { onMatch: { case: 'action' } } })
})

/** The predicate of a DENY, or of an ALLOW's negation, as Envoy gets it. */
function builtPath(action: 'ALLOW' | 'DENY', paths: ReturnType<typeof is>): string {
  const policy = makePolicy({ action, rules: [{ to: [operation({ paths })] }] })
  return bytes(buildHttpRbac(makeSet([policy]), CHAIN))
}

t.test(
  'what closes meets delimiters in both forms; what opens, and what has none, is plain',
  async (t) => {
    const either = 'v1\\/a(?:\\:|%3[Aa])b(?:\\@|%40)c'
    const value = '/v1/a:b@c'
    t.ok(builtPath('DENY', is(value)).includes(`\\/${either}(?:\\?.*)?`))
    t.ok(builtPath('DENY', is(`${value}*`)).includes(`\\/${either}.*`))
    t.ok(builtPath('DENY', is(`*${value}`)).includes(`[^?]*\\/${either}(?:`))
    t.ok(builtPath('ALLOW', not(value)).includes(either))
    t.notOk(builtPath('ALLOW', is(value)).includes('%3[Aa]'))
    t.notOk(builtPath('DENY', not(value)).includes('%3[Aa]'))
    for (const plain of ['/v1/a', '/v1/a*']) t.notOk(builtPath('DENY', is(plain)).includes('v1\\'))
  },
)
