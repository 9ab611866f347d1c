import t from 'tap'
import type { PolicySet } from '../../../common/policy-set.ts'
import { parsePolicySet } from '../../../common/policy-set-shape.ts'

const empty = { is: [], not: [] }

/** One of everything that a set can hold. */
function wholeSet(): PolicySet {
  return {
    workload: 'shop/orders',
    trustDomain: 'mesh.local',
    trustDomainAliases: ['old.local'],
    defaultAction: 'DENY',
    defaultMode: 'Enforce',
    policies: [
      {
        namespace: 'shop',
        name: 'p',
        action: 'DENY',
        mode: 'Shadow',
        required: false,
        onError: 'Allow',
        rules: [
          {
            id: 'shop/p/rules[0]',
            from: [
              {
                principals: {
                  is: [{ kind: 'exact', value: 'spiffe://a/b' }],
                  not: [{ kind: 'present' }],
                },
                namespaces: {
                  is: [{ kind: 'prefix', value: 'a' }],
                  not: [{ kind: 'suffix', value: 'b' }],
                },
                ipBlocks: { is: ['10.0.0.0/8'], not: ['2001:db8::/32'] },
              },
            ],
            to: [
              {
                hosts: empty,
                ports: { is: [8080], not: [] },
                methods: empty,
                paths: {
                  is: [
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
              { key: { kind: 'header', name: 'x-a' }, values: empty },
              { key: { kind: 'source.principal' }, values: empty },
              { key: { kind: 'source.namespace' }, values: empty },
              { key: { kind: 'destination.port' }, values: empty },
              { key: { kind: 'source.ip' }, blocks: { is: ['10.0.0.0/8'], not: [] } },
            ],
          },
        ],
        rego: { entrypoint: 'a/b/c', wasmDigest: 'a'.repeat(64), data: null, readsBody: true },
      },
    ],
    requires: ['when/source.ip'],
  }
}

t.test('a set with one of everything is a set', async (t) => {
  t.same(parsePolicySet(wholeSet()), wholeSet())
})

/** Replaces what stands at a path; undefined removes it. */
function changed(path: string, value: unknown): unknown {
  const set = JSON.parse(JSON.stringify(wholeSet())) as Record<string, unknown>
  const steps = path.split('.')
  const last = steps.pop() ?? ''
  let at = set
  for (const step of steps) at = at[step] as Record<string, unknown>
  if (value === undefined) delete at[last]
  else at[last] = value
  return set
}

const RULE = 'policies.0.rules.0'
const mistakes: readonly [string, unknown, string][] = [
  ['workload', 'orders', 'workload: not namespace/name'],
  ['trustDomain', '', 'trustDomain: not a trust domain'],
  ['trustDomainAliases', 'old', 'trustDomainAliases: not a list'],
  ['trustDomainAliases.0', 'a/b', 'trustDomainAliases[0]: not a trust domain'],
  ['trustDomain', 7, 'trustDomain: not a trust domain'],
  ['defaultMode', undefined, 'defaultMode: not one of Enforce, Shadow'],
  ['policies', 'x', 'policies: not a list'],
  ['policies.0', null, 'policies[0]: not an object'],
  ['policies.0.name', 1, 'policies[0].name: not a string'],
  ['policies.0.required', 'no', 'policies[0].required: not a boolean'],
  ['policies.0.rules', null, 'policies[0].rules: not a list'],
  [`${RULE}.unless`, [], 'policies[0].rules[0].unless: unknown field'],
  [
    `${RULE}.from.0.ipBlocks.is`,
    ['10.0.0.0'],
    'policies[0].rules[0].from[0].ipBlocks.is[0]: not a canonical CIDR',
  ],
  [
    `${RULE}.from.0.principals.is.0.kind`,
    'regex',
    'policies[0].rules[0].from[0].principals.is[0].kind: unknown',
  ],
  [
    `${RULE}.from.0.principals.is.0`,
    'x',
    'policies[0].rules[0].from[0].principals.is[0].kind: unknown',
  ],
  [
    `${RULE}.from.0.principals.is.0.kind`,
    'toString',
    'policies[0].rules[0].from[0].principals.is[0].kind: unknown',
  ],
  [`${RULE}.to.0.ports.is`, [0], 'policies[0].rules[0].to[0].ports.is[0]: not a port'],
  [`${RULE}.to.0.ports.is`, [65_536], 'policies[0].rules[0].to[0].ports.is[0]: not a port'],
  [`${RULE}.to.0.paths`, undefined, 'policies[0].rules[0].to[0].paths: not an object'],
  [
    `${RULE}.when.0.key.name`,
    'X-A',
    'policies[0].rules[0].when[0].key.name: not a lower-case header name',
  ],
  [
    `${RULE}.when.4.blocks.is`,
    ['10.0.0.0'],
    'policies[0].rules[0].when[4].blocks.is[0]: not a canonical CIDR',
  ],
  [`${RULE}.when.4.values`, empty, 'policies[0].rules[0].when[4].values: unknown field'],
  [`${RULE}.when.4.key.kind`, 'source.name', 'policies[0].rules[0].when[4].key.kind: unknown'],
  ['requires', 'when/source.ip', 'requires: not a list'],
  ['requires.0', '', 'requires[0]: not a feature token'],
  [
    'requires.1',
    'when/moon.phase',
    'it needs the feature when/moon.phase, which this version does not have',
  ],
  ['policies.0.rego.entrypoint', 'allow', 'policies[0].rego.entrypoint: not a slash path'],
  ['policies.0.rego.data', undefined, 'policies[0].rego.data: missing'],
  [
    'policies.0.rego.wasmDigest',
    'A'.repeat(64),
    'policies[0].rego.wasmDigest: not a SHA-256 in hex',
  ],
]
for (const [path, value, message] of mistakes)
  t.test(`${path} = ${JSON.stringify(value)} is refused by name`, async (t) => {
    t.equal(parsePolicySet(changed(path, value)), message)
  })

t.test('what is no object is no set', async (t) => {
  for (const value of [null, 1, 'x', [], undefined])
    t.equal(parsePolicySet(value), ': not an object')
})
