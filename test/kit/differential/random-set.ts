/**
 * Random policy sets whose values meet the random requests often: small pools, overlapping prefixes, every kind of term.
 */
import {
  type Condition,
  comparePolicies,
  type Operation,
  type Policy,
  type PolicySet,
  type Rule,
  type Source,
  type StringMatch,
  type Term,
} from '../../../common/policy-set.ts'
import type { Random } from './random.ts'

const exact = (value: string): StringMatch => ({ kind: 'exact', value })
const prefix = (value: string): StringMatch => ({ kind: 'prefix', value })
const suffix = (value: string): StringMatch => ({ kind: 'suffix', value })
const present: StringMatch = { kind: 'present' }
const literal = (value: string) => ({ kind: 'literal', value }) as const
const template = (...segments: ('*' | '**' | (string & {}))[]): StringMatch => ({
  kind: 'template',
  segments: segments.map((s) =>
    s === '*' ? { kind: 'one' } : s === '**' ? { kind: 'any' } : literal(s),
  ),
})

const PRINCIPALS: readonly StringMatch[] = [
  ...[
    'td/ns/a/sa/one',
    'td/ns/a/sa/two',
    'td/ns/b/sa/one',
    'old/ns/a/sa/one',
    'far/ns/a/sa/one',
  ].map((id) => exact(`spiffe://${id}`)),
  prefix('spiffe://td/ns/a/'),
  prefix('spiffe://td/'),
  suffix('/sa/one'),
  present,
]
const NAMESPACES = [exact('a'), exact('b'), exact('ab'), prefix('a'), suffix('b'), present]
const BLOCKS = ['127.0.0.0/8', '127.0.0.1/32', '127.0.0.2/32', '10.0.0.0/8', '::/0', '0.0.0.0/0']
const METHODS = [exact('GET'), exact('POST'), exact('HEAD'), prefix('P'), suffix('T'), present]
const PATHS: readonly StringMatch[] = [
  ...['/', '/a', '/a/', '/a/b', '/a/b/c', '/admin', '/a;x', '/a:b@c', '/x.css', '/a%20b'].map(
    exact,
  ),
  ...['/a', '/a/', '/ad', '/admin/', '/a/b', '/a;', '/a:b'].map(prefix),
  ...['.css', '/b', 'min', '/', '=y', ';x', 'b@c', 'A'].map(suffix),
  template('a', '*'),
  template('a', '**'),
  template('a;x', '**'),
  template('a:b@c'),
  template('a', 'b'),
  template('a', 'x', '*'),
  template('*', 'b'),
  template('**'),
  template('a', '*', '**'),
  present,
]
const HOSTS = [
  exact('a.example.com'),
  exact('kilo'),
  exact('a'),
  exact('h'),
  exact('[::1]'),
  prefix('a.'),
  prefix('a'),
  suffix('.example.com'),
  suffix('com'),
  present,
]
const VALUES: readonly StringMatch[] = [
  ...['blue', 'red', 'blue,red', 'a b', 'é', 'bl!', ' blue'].map(exact),
  ...['bl', 'blue,', 'b'].map(prefix),
  ...['ue', 'd', ',red'].map(suffix),
  present,
]

const FEW_VALUES = [exact('red'), exact('blue,red'), prefix('bl'), suffix('ue'), present]

export interface SetOptions {
  /** Inbound ports that the set is used on, for terms about ports. */
  readonly ports: readonly number[]
  readonly protocol?: 'http' | 'tcp'
}

/** Half of the sets are broad; the other half test one attribute with one rule, where a difference can't hide. */
export function randomSet(random: Random, options: SetOptions): PolicySet {
  return random.chance(0.5) ? broadSet(random, options) : focusedSet(random, options)
}

function broadSet(random: Random, options: SetOptions): PolicySet {
  const withSidecar = random.chance(0.5)
  const count = 1 + random.below(4)
  const policies = Array.from({ length: count }, (_, i) =>
    randomPolicy(random, `p${i}`, options, withSidecar),
  )
  return {
    ...BASE,
    defaultAction: random.chance(0.3) ? 'ALLOW' : 'DENY',
    defaultMode: withSidecar && random.chance(0.2) ? 'Shadow' : 'Enforce',
    policies: policies.sort(comparePolicies),
  }
}

const BASE = { workload: 'ns/app', trustDomain: 'td', trustDomainAliases: ['old'] }

/** One ALLOW, or one DENY of what the default allows. */
function focusedSet(random: Random, { ports }: SetOptions): PolicySet {
  const action = random.pick(['ALLOW', 'DENY'] as const)
  const rule: Rule = { id: 'ns/p0/rules[0]', from: [], to: [], when: [], ...focus(random, ports) }
  const policy: Policy = {
    namespace: 'ns',
    name: 'p0',
    action,
    mode: 'Enforce',
    required: false,
    onError: 'Deny',
    rules: [rule],
  }
  const isShadow = action === 'DENY' && random.chance(0.2)
  return {
    ...BASE,
    defaultAction: isShadow || action === 'ALLOW' ? 'DENY' : 'ALLOW',
    defaultMode: isShadow ? 'Shadow' : 'Enforce',
    policies: [policy],
  }
}

function focus(random: Random, ports: readonly number[]): Partial<Rule> {
  const source = { principals: NONE, namespaces: NONE, ipBlocks: NONE }
  const operation = { hosts: NONE, ports: NONE, methods: NONE, paths: NONE }
  switch (random.below(10)) {
    case 0:
      return { from: [{ ...source, principals: randomTerm(random, PRINCIPALS) }] }
    case 1:
      return { from: [{ ...source, namespaces: randomTerm(random, NAMESPACES) }] }
    case 2:
      return { from: [{ ...source, ipBlocks: randomTerm(random, BLOCKS) }] }
    case 3:
      return { to: [{ ...operation, hosts: randomTerm(random, HOSTS) }] }
    case 4:
      return { to: [{ ...operation, paths: randomTerm(random, PATHS) }] }
    case 5:
      return { when: [randomCondition(random, ports)] }
    default: {
      const key = { kind: 'header', name: 'x-a' } as const
      return { when: [{ key, values: randomTerm(random, FEW_VALUES) }] }
    }
  }
}

function randomPolicy(
  random: Random,
  name: string,
  options: SetOptions,
  withSidecar: boolean,
): Policy {
  const action = random.pick(['ALLOW', 'ALLOW', 'ALLOW', 'DENY', withSidecar ? 'AUDIT' : 'ALLOW'])
  const hasRego = withSidecar && random.chance(0.35)
  const rules = Array.from({ length: random.below(4) + (random.chance(0.9) ? 1 : 0) }, (_, i) =>
    randomRule(random, `ns/${name}/rules[${i}]`, options),
  )
  return {
    namespace: 'ns',
    name,
    action: action as Policy['action'],
    mode: withSidecar && random.chance(0.2) ? 'Shadow' : 'Enforce',
    required: action === 'ALLOW' && random.chance(0.2),
    onError: random.chance(0.3) ? 'Allow' : 'Deny',
    ...(random.chance(hasRego ? 0.7 : 0.97) ? { rules } : {}),
    ...(hasRego
      ? {
          rego: {
            entrypoint: 'envoy/authz/allow',
            wasmDigest: '0'.repeat(64),
            data: {},
            readsBody: false,
          },
        }
      : {}),
  }
}

function randomRule(random: Random, id: string, { ports }: SetOptions): Rule {
  return {
    id,
    from: Array.from({ length: random.below(3) }, () => randomSource(random)),
    to: Array.from({ length: random.below(3) }, () => randomOperation(random, ports)),
    when: random.chance(0.35)
      ? Array.from({ length: 1 + random.below(2) }, () => randomCondition(random, ports))
      : [],
  }
}

function randomSource(random: Random): Source {
  return {
    principals: random.chance(0.6) ? randomTerm(random, PRINCIPALS) : NONE,
    namespaces: random.chance(0.3) ? randomTerm(random, NAMESPACES) : NONE,
    ipBlocks: random.chance(0.25) ? randomTerm(random, BLOCKS) : NONE,
  }
}

function randomOperation(random: Random, ports: readonly number[]): Operation {
  return {
    hosts: random.chance(0.25) ? randomTerm(random, HOSTS) : NONE,
    ports: random.chance(0.2) ? randomTerm(random, [...ports, ...ports, 1]) : NONE,
    methods: random.chance(0.4) ? randomTerm(random, METHODS) : NONE,
    paths: random.chance(0.7) ? randomTerm(random, PATHS) : NONE,
  }
}

function randomCondition(random: Random, ports: readonly number[]): Condition {
  switch (random.below(7)) {
    case 3:
      return { key: { kind: 'source.ip' }, blocks: randomTerm(random, BLOCKS) }
    case 0:
      return { key: { kind: 'source.principal' }, values: randomTerm(random, PRINCIPALS) }
    case 1:
      return { key: { kind: 'source.namespace' }, values: randomTerm(random, NAMESPACES) }
    case 2: {
      const texts = [...ports, 1].map((p) => exact(String(p)))
      return { key: { kind: 'destination.port' }, values: randomTerm(random, texts) }
    }
    default: {
      const name = random.pick(['x-a', 'x-b'])
      return { key: { kind: 'header', name }, values: randomTerm(random, VALUES) }
    }
  }
}

const NONE = { is: [], not: [] }

/** Mostly positive, one to three values, sometimes a negation, sometimes both. */
function randomTerm<T>(random: Random, pool: readonly T[]): Term<T> {
  const is = random.chance(0.75) ? [random.pick(pool), ...random.some(pool, 2)] : []
  const not = is.length === 0 || random.chance(0.2) ? [random.pick(pool)] : []
  return { is, not }
}
