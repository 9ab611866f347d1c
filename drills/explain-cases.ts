/**
 * Random manifests and random requests for the explain drill: policies of every kind on one service, callers that some of
 * them name, and requests that look for a second reading. In: a seeded source. Out: YAML text, and requests as sent.
 */
import { stringify } from 'yaml'
import type { Random } from '../test/kit/differential/random.ts'
import { randomRequest } from '../test/kit/differential/random-request.ts'

/** Callers without a sidecar: the drill itself shows their certificates. */
export const CALLERS = ['shop/tester', 'shop/clerk', 'guests/visitor'] as const
export type Caller = (typeof CALLERS)[number] | 'plaintext' | 'no certificate'

export const CALLERS_MANIFEST = `${CALLERS.filter((c) => c !== 'shop/tester')
  .map((caller) => {
    const [namespace, name] = caller.split('/')
    const metadata = { namespace, name }
    const spec = { serviceAccount: name }
    return stringify({ apiVersion: 'postern.dev/v1alpha1', kind: 'WorkloadEntry', metadata, spec })
  })
  .join('---\n')}---
${stringify({
  apiVersion: 'postern.dev/v1alpha1',
  kind: 'PeerAuthentication',
  metadata: { namespace: 'shop', name: 'orders-both' },
  spec: { selector: { matchLabels: { app: 'orders' } }, mtls: { mode: 'PERMISSIVE' } },
})}`

const id = (text: string) => `spiffe://shop.example/ns/${text}`
const PRINCIPALS = [
  ...['shop/sa/tester', 'shop/sa/clerk', 'guests/sa/visitor', 'shop/*', 'guests/*'].map(id),
  ...['*', '*/sa/clerk'],
]
const NAMESPACES = ['shop', 'guests', 'sho*', '*']
const BLOCKS = ['127.0.0.1/32', '127.0.0.2', '127.0.0.0/8', '10.0.0.0/8']
const METHODS = ['GET', 'POST', 'P*', 'DELETE', '*']
const PATHS = [
  ...['/', '/a', '/a/', '/a/*', '/admin*', '/a/{*}', '/a/{**}', '*.css', '/a;x', '/a:b@c', '*'],
  ...['/a/b', '/x*', '/b'],
]
const HOSTS = ['a.example.com', '*.example.com', 'kilo', 'h', 'a*', '*']
const VALUES = ['blue', 'red', 'bl*', '*d', '*', 'bl!', 'blue,red']
const MODULES = [
  'allow := true if input.attributes.request.http.method == "GET"',
  'default allow := false\nallow := true if startswith(input.attributes.request.http.path, "/a")',
  'allow := {"allowed": input.parsed_path[0] == "a", "http_status": 418, "body": "no"}',
  'default allow := false\nallow := true if input.parsed_body.amount < 10',
  'default allow := false\nallow := true if input.attributes.request.http.headers["x-a"] == "blue"',
  'allow := "neither yes nor no"',
  'allow := true if input.attributes.source.principal\nallow := false if input.parsed_query.q',
  'default allow := {"allowed": false, "http_status": 401}\nallow := {"allowed": true, "headers": {"x-seen": "1"}} if not input.truncated_body',
] as const

type Json = Readonly<Record<string, unknown>>

/** Most requests shall get past the DENY policies, so those say little by `not`. */
const NEGATED = { ALLOW: 0.25, AUDIT: 0.25, DENY: 0 } as const
type Action = keyof typeof NEGATED

function terms(
  random: Random,
  negated: number,
  fields: Readonly<Record<string, readonly unknown[]>>,
): Json {
  const names = Object.keys(fields)
  const chosen = names.filter(() => random.chance(0.3))
  const used = chosen.length > 0 ? chosen : [random.pick(names)]
  return Object.fromEntries(
    used.map((name) => {
      const values = [
        ...new Set([random.pick(fields[name] ?? []), ...random.some(fields[name] ?? [], 1)]),
      ]
      const isNegated = random.chance(negated)
      return [isNegated ? `not${name.charAt(0).toUpperCase()}${name.slice(1)}` : name, values]
    }),
  )
}

function condition(random: Random, negated: number): Json {
  const key = random.pick([
    'request.headers[x-a]',
    'request.headers[x-b]',
    'source.ip',
    'source.namespace',
  ])
  const pools: Readonly<Record<string, readonly string[]>> = {
    'source.ip': BLOCKS,
    'source.namespace': NAMESPACES,
  }
  const values = [random.pick(pools[key] ?? VALUES)]
  return random.chance(negated) ? { key, notValues: values } : { key, values }
}

function rule(random: Random, action: Action, port: number): Json {
  const negated = NEGATED[action]
  const many = <T>(make: () => T) => Array.from({ length: 1 + random.below(2) }, make)
  const source = () => ({
    source: terms(random, negated, {
      principals: PRINCIPALS,
      namespaces: NAMESPACES,
      ipBlocks: BLOCKS,
    }),
  })
  const operation = () => ({
    operation: terms(random, negated, {
      methods: METHODS,
      paths: PATHS,
      hosts: HOSTS,
      ports: [port, 4],
    }),
  })
  return {
    ...(random.chance(action === 'DENY' ? 0.9 : 0.5) ? { from: many(source) } : {}),
    ...(random.chance(action === 'DENY' ? 0.9 : 0.6) ? { to: many(operation) } : {}),
    ...(random.chance(0.3) ? { when: many(() => condition(random, negated)) } : {}),
  }
}

function policy(random: Random, index: number, port: number): Json {
  const action: Action = random.pick([
    ...(['ALLOW', 'ALLOW', 'ALLOW', 'ALLOW', 'ALLOW', 'DENY', 'DENY', 'AUDIT'] as const),
  ])
  const hasRego = random.chance(0.3)
  const hasRules = !hasRego || random.chance(0.6)
  return {
    apiVersion: 'postern.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'shop', name: `random-${index}` },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'orders' }],
      action,
      ...(random.chance(0.1) ? { mode: 'Shadow' } : {}),
      ...(action === 'ALLOW' && random.chance(0.05) ? { required: true } : {}),
      ...(random.chance(0.3) ? { onError: 'Allow' } : {}),
      ...(hasRules
        ? { rules: Array.from({ length: 1 + random.below(3) }, () => rule(random, action, port)) }
        : {}),
      ...(hasRego ? { rego: { module: `package envoy.authz\n\n${random.pick(MODULES)}\n` } } : {}),
    },
  }
}

/** The text of a manifest with 1 to 7 policies on Service orders, whose inbound port is `port`. */
export function randomPolicies(random: Random, port: number): string {
  const count = 1 + random.below(7)
  return Array.from({ length: count }, (_, i) => stringify(policy(random, i, port))).join('---\n')
}

export interface RandomCase {
  readonly caller: Caller
  readonly sourceAddress: string
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body?: string
}

const BODIES = [
  '{"amount":5}',
  '{"amount":50}',
  '{"amount":',
  '[]',
  `{"pad":"${'x'.repeat(9000)}"}`,
]

const ABSOLUTE = [
  'http://b.example.com',
  'HTTP://h:80',
  'https://u@kilo',
  'http://a.example.com:80:80',
]

/** Mostly a path; some absolute targets, and some that are none. */
function randomTarget(random: Random, path: string): string {
  if (random.chance(0.85)) return path
  return random.pick([...ABSOLUTE.map((base) => `${base}${path}`), '*', 'a', 'http://h'])
}

/**
 * A request of which the app, or the refusal, tells the decision id: no HEAD, whose answer has no body. Without bytes
 * beyond ASCII, which the command line has no way to say.
 */
export function randomCase(random: Random): RandomCase {
  const { sourceAddress, path, host, headers, method } = randomRequest(random)
  const isPlain = (text: string) => /^[ -~]*$/.test(text)
  const body = random.chance(0.3) ? random.pick(BODIES) : undefined
  const plain = headers.filter(([, value]) => isPlain(value))
  const type = random.pick(['application/json', 'text/plain'])
  return {
    caller: random.pick([...CALLERS, ...CALLERS, 'plaintext', 'no certificate']),
    sourceAddress,
    method: method === 'HEAD' ? 'GET' : method,
    path: randomTarget(random, isPlain(path) && !path.includes(' ') ? path : '/a'),
    host,
    headers: body === undefined ? plain : [...plain, ['content-type', type]],
    ...(body === undefined ? {} : { body }),
  }
}
