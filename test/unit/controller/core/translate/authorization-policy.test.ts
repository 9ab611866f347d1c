/** AuthorizationPolicy objects become literal, normalised terms, or problems and nothing. */
import t from 'tap'
import type { AuthorizationPolicy } from '../../../../../controller/core/crd/index.ts'
import { translateAuthorizationPolicy } from '../../../../../controller/core/translate/authorization-policy.ts'
import { REGO } from '../../../../kit/policies.ts'

const MESH = { trustDomain: 'td', trustDomainAliases: ['old'] }

type Spec = AuthorizationPolicy['spec']

function translate(spec: Partial<Spec>, rego = spec.rego === undefined ? undefined : REGO) {
  const object: AuthorizationPolicy = {
    apiVersion: 'postern.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'shop', name: 'web' },
    spec: { action: 'ALLOW', mode: 'Enforce', required: false, onError: 'Deny', ...spec },
  }
  return translateAuthorizationPolicy(object, { mesh: MESH, rego })
}

const SPEC_REGO = { module: 'package a', entrypoint: 'a/allow', regoVersion: 'V1' } as const

t.test('values are normalised', async (t) => {
  const { policy, problems } = translate({
    rules: [
      {
        from: [
          {
            source: {
              principals: ['td/ns/a/sa/b', 'spiffe://far/x', '*/sa/c', '*'],
              notPrincipals: ['old/ns/a/*'],
              namespaces: ['a', 'b*'],
              notIpBlocks: ['10.0.0.0/8', '2001:DB8::1'],
            },
          },
        ],
        to: [
          {
            operation: {
              hosts: ['API.Example.com', '*.example.com'],
              ports: [80, '443'],
              methods: ['GET', 'P*'],
              paths: ['/a', '/a/{*}/{**}'],
            },
          },
        ],
        when: [
          { key: 'request.headers[X-Tenant]', values: ['Blue'], notValues: ['r*'] },
          { key: 'source.principal', values: ['td/ns/a/sa/b'] },
          { key: 'destination.port', notValues: ['80'] },
          { key: 'source.namespace', values: ['a'] },
        ],
      },
    ],
  })
  t.same(problems, [])
  const exact = (value: string) => ({ kind: 'exact', value })
  t.same(policy?.rules, [
    {
      id: 'shop/web/rules[0]',
      from: [
        {
          principals: {
            is: [
              exact('spiffe://td/ns/a/sa/b'),
              exact('spiffe://old/ns/a/sa/b'),
              exact('spiffe://far/x'),
              { kind: 'suffix', value: '/sa/c' },
              { kind: 'present' },
            ],
            not: [
              { kind: 'prefix', value: 'spiffe://td/ns/a/' },
              { kind: 'prefix', value: 'spiffe://old/ns/a/' },
            ],
          },
          namespaces: { is: [exact('a'), { kind: 'prefix', value: 'b' }], not: [] },
          ipBlocks: { is: [], not: ['10.0.0.0/8', '2001:db8::1/128'] },
        },
      ],
      to: [
        {
          hosts: {
            is: [exact('api.example.com'), { kind: 'suffix', value: '.example.com' }],
            not: [],
          },
          ports: { is: [80, 443], not: [] },
          methods: { is: [exact('GET'), { kind: 'prefix', value: 'P' }], not: [] },
          paths: {
            is: [
              exact('/a'),
              {
                kind: 'template',
                segments: [{ kind: 'literal', value: 'a' }, { kind: 'one' }, { kind: 'any' }],
              },
            ],
            not: [],
          },
        },
      ],
      when: [
        {
          key: { kind: 'header', name: 'x-tenant' },
          values: { is: [exact('Blue')], not: [{ kind: 'prefix', value: 'r' }] },
        },
        {
          key: { kind: 'source.principal' },
          values: {
            is: [exact('spiffe://td/ns/a/sa/b'), exact('spiffe://old/ns/a/sa/b')],
            not: [],
          },
        },
        { key: { kind: 'destination.port' }, values: { is: [], not: [exact('80')] } },
        { key: { kind: 'source.namespace' }, values: { is: [exact('a')], not: [] } },
      ],
    },
  ])
})

t.test('rules absent, empty and [{}] stay apart; Rego comes from its compilation', async (t) => {
  t.same(translate({}).policy, {
    namespace: 'shop',
    name: 'web',
    action: 'ALLOW',
    mode: 'Enforce',
    required: false,
    onError: 'Deny',
  })
  t.same(translate({ rules: [] }).policy?.rules, [])
  t.same(translate({ rules: [{}] }).policy?.rules, [
    { id: 'shop/web/rules[0]', from: [], to: [], when: [] },
  ])
  t.same(translate({ rego: SPEC_REGO }).policy?.rego, REGO)
  t.notOk('rego' in (translate({}, REGO).policy ?? {}), 'an object without Rego gets none')
})

t.test('any problem leaves no policy', async (t) => {
  const cases: readonly [string, string, Partial<Spec>][] = [
    ['ERR_FIELD_VALUE', 'spec.rules[0].from', { rules: [{ from: [] }] }],
    ['ERR_FIELD_VALUE', 'spec.rules[0].to', { rules: [{ to: [] }] }],
    ['ERR_FIELD_VALUE', 'spec.rules[0].when', { rules: [{ when: [] }] }],
    ['ERR_FIELD_VALUE', 'spec.rules[0].from[0].source', { rules: [{ from: [{ source: {} }] }] }],
    ['ERR_FIELD_VALUE', 'spec.rules[0].to[0].operation', { rules: [{ to: [{ operation: {} }] }] }],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[1].from[0].source.principals',
      { rules: [{}, { from: [{ source: { principals: [] } }] }] },
    ],
    [
      'ERR_SPIFFE_ID',
      'spec.rules[0].from[0].source.principals[1]',
      { rules: [{ from: [{ source: { principals: ['td/ns/a/sa/b', 'http://x/y'] } }] }] },
    ],
    [
      'ERR_CIDR',
      'spec.rules[0].from[0].source.notIpBlocks[0]',
      { rules: [{ from: [{ source: { notIpBlocks: ['10.0.0.0/33'] } }] }] },
    ],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[0].to[0].operation.paths[0]',
      { rules: [{ to: [{ operation: { paths: [''] } }] }] },
    ],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[0].to[0].operation.methods[0]',
      { rules: [{ to: [{ operation: { methods: ['get'] } }] }] },
    ],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[0].to[0].operation.hosts[0]',
      { rules: [{ to: [{ operation: { hosts: ['a:80'] } }] }] },
    ],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[0].when[0]',
      { rules: [{ when: [{ key: 'source.principal' }] }] },
    ],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[0].when[0].key',
      { rules: [{ when: [{ key: 'request.path', values: ['/x'] }] }] },
    ],
    [
      'ERR_FIELD_VALUE',
      'spec.rules[0].when[0].values[0]',
      { rules: [{ when: [{ key: 'destination.port', values: ['http'] }] }] },
    ],
    ['ERR_RULE_VIOLATED', 'spec.required', { action: 'DENY', required: true, rules: [{}] }],
  ]
  for (const [code, field, spec] of cases) {
    const { policy, problems } = translate(spec)
    t.equal(policy, undefined, field)
    t.match(problems, [
      { code, field, object: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web' } },
    ])
    t.equal(problems.length, 1, field)
  }
})

t.test(
  'Rego that is not compiled leaves no policy: its rules alone would be another one',
  async (t) => {
    const object = translate({ rego: SPEC_REGO, rules: [{}] })
    t.equal(object.problems.length, 0)
    const { policy, problems } = translateAuthorizationPolicy(
      {
        apiVersion: 'postern.dev/v1alpha1',
        kind: 'AuthorizationPolicy',
        metadata: { namespace: 'shop', name: 'web' },
        spec: {
          ...{ action: 'ALLOW', mode: 'Enforce', required: false, onError: 'Deny' },
          rego: SPEC_REGO,
          rules: [{}],
        },
      },
      { mesh: MESH, rego: undefined },
    )
    t.equal(policy, undefined)
    t.match(problems, [{ code: 'ERR_REGO_COMPILE', field: 'spec.rego' }])
  },
)
