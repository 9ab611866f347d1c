import t from 'tap'
import type { AskedRequest } from '../../../../cli/explain/asked.ts'
import { explain } from '../../../../cli/explain/explain.ts'
import { formatExplanation } from '../../../../cli/explain/format.ts'
import { decide } from '../../../../common/authz/combine.ts'
import { type Random, seededRandom } from '../../../kit/differential/random.ts'
import { randomRequest } from '../../../kit/differential/random-request.ts'
import { randomSet } from '../../../kit/differential/random-set.ts'
import { makePort, makeVersion } from '../../../kit/explain.ts'
import { header, is, makePolicy, makeSet, operation, source } from '../../../kit/policies.ts'
import { RAW_CASES } from '../../../kit/raw/cases.ts'

const context = { ownId: 'spiffe://td/ns/ns/sa/app', nowNs: 1_000_000_000n }
const asked: AskedRequest = {
  principal: 'spiffe://td/ns/a/sa/one',
  sourceAddress: '127.0.0.1',
  port: 8080,
  transport: 'tls',
  method: 'GET',
  path: '/a',
  host: 'app',
  headers: [],
}
const set = makeSet([
  makePolicy({ name: 'deny', action: 'DENY', rules: [{ when: [header('x-debug', is('*'))] }] }),
  makePolicy({
    name: 'audit',
    action: 'AUDIT',
    rules: [{ to: [operation({ paths: is('/audited') })] }],
  }),
  makePolicy({
    name: 'allow',
    rules: [
      { from: [source({ namespaces: is('b') })] },
      { from: [source({ namespaces: is('a') })], to: [operation({ methods: is('GET') })] },
    ],
  }),
])
const version = await makeVersion(set, [
  makePort(),
  makePort({ name: 'strict', port: 8443, mtls: 'STRICT' }),
])
const ask = (given: Partial<AskedRequest> = {}) => explain(version, { ...asked, ...given }, context)

t.test('Envoy decides: the rule that its tree names', async (t) => {
  t.match(await ask(), {
    allowed: true,
    decidedIn: 'rbac',
    policy: 'ns/allow',
    rule: 'ns/allow/rules[1]',
    reason: 'matched',
  })
  t.match(await ask({ headers: [['X-Debug', '1']] }), {
    allowed: false,
    policy: 'ns/deny',
    rule: 'ns/deny/rules[0]',
    httpStatus: 403,
  })
  t.match(await ask({ method: 'POST' }), { allowed: false, policy: 'default', decidedIn: 'wasm' })
})

t.test('the sidecar decides what Envoy leaves to it, and says what is recorded', async (t) => {
  t.match(await ask({ path: '/audited' }), {
    allowed: true,
    decidedIn: 'wasm',
    rule: 'ns/allow/rules[1]',
    shadow: ['ns/audit'],
  })
})

t.test('what never comes to a policy', async (t) => {
  const none = { principal: undefined }
  t.match(await ask({ ...none, transport: 'tls' }), { decidedIn: 'connection', policy: '' })
  t.match(await ask({ principal: 'spiffe://far/ns/a/sa/one' }), { decidedIn: 'connection' })
  t.match(await ask({ ...none, transport: 'plaintext', port: 8443 }), {
    decidedIn: 'connection',
    reason: /mutual TLS only/,
  })
  t.match(await ask({ path: '/a#b' }), { decidedIn: 'http', httpStatus: 400 })
  t.match(await ask({ headers: [['a_b', '1']] }), { decidedIn: 'http', reason: /underscore/ })
  await t.rejects(ask({ port: 1 }), { code: 'ERR_NOT_FOUND', message: /8080 \(http\)/ })
})

t.test('over plaintext nobody has a name', async (t) => {
  const said = await ask({ transport: 'plaintext' })
  t.match(said, { allowed: false, policy: 'default', seen: { principal: undefined } })
  t.match(said.notes, [/nobody proves who he is/])
})

t.test('connections: by the network filter, also where the server speaks first', async (t) => {
  const named = makeSet([
    makePolicy({ name: 'allow', rules: [{ from: [source({ namespaces: is('b') })] }] }),
  ])
  const tcp = await makeVersion(named, [
    makePort({ port: 9090, protocol: 'TCP' }),
    makePort({ port: 9091, protocol: 'TCP', serverFirst: true }),
  ])
  for (const port of [9090, 9091]) {
    t.match(await explain(tcp, { ...asked, port, principal: 'spiffe://td/ns/b/sa/x' }, context), {
      allowed: true,
      decidedIn: 'rbac',
      rule: 'ns/allow/rules[0]',
    })
    t.match(await explain(tcp, { ...asked, port }, context), {
      allowed: false,
      policy: 'default',
      reason: 'not-matched',
    })
  }
})

t.test('guards come first', async (t) => {
  t.match(await ask({ path: '/%zz' }), {
    allowed: false,
    policy: 'guard/path',
    guard: 'guard/path',
  })
})

/** As `postern explain request` would be asked; undefined: it can't say that. */
function toAsked(bytes: string): Partial<AskedRequest> | undefined {
  const [first = '', ...lines] = bytes.slice(0, bytes.indexOf('\r\n\r\n')).split('\r\n')
  const [, method, path] = /^(\S+) +(.*) HTTP\/1\.1$/.exec(first) ?? []
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1)]
  })
  const at = headers.findIndex(([name]) => name === 'host')
  const host = headers[at]?.[1]
  if (method === undefined || path === undefined || host === undefined) return undefined
  return { method, path, host, headers: headers.filter((_, i) => i !== at) }
}

t.test('raw requests are explained as a real Envoy was seen to answer them', async (t) => {
  const denied = makePolicy({
    name: 'deny',
    action: 'DENY',
    rules: [
      { to: [operation({ paths: is('/admin', '/admin/*') })] },
      { to: [operation({ hosts: is('internal.shop') })] },
      { to: [operation({ methods: is('POST') })] },
    ],
  })
  const workload = await makeVersion(
    makeSet([denied, makePolicy({ name: 'allow', rules: [{}] })]),
    [makePort()],
  )
  const groups = ['paths', 'hosts', 'methods and versions']
  let compared = 0
  for (const { what, bytes, answers, arrives, wire } of groups.flatMap((g) => RAW_CASES[g] ?? [])) {
    const given = typeof bytes === 'string' && wire === 'HTTP/1.1' ? toAsked(bytes) : undefined
    if (given === undefined) continue
    const { allowed, httpStatus, seen } = await explain(workload, { ...asked, ...given }, context)
    const got = allowed ? `${seen?.method} ${seen?.path} ${seen?.host}` : httpStatus
    t.equal(got, arrives[0] ?? answers[0], what)
    compared++
  }
  t.ok(compared > 40)
  const absolute = await ask({ path: 'http://orders.shop:80/a', host: 'other' })
  t.match(absolute.notes, [
    'the path http://orders.shop:80/a is /a to policies and app',
    'the host other is orders.shop to policies and app',
  ])
})

t.test('as text: the answer, the order, and each policy’s first reason', async (t) => {
  const denied = await ask({ method: 'POST', path: '/x/../a' })
  const text = formatExplanation(denied, {
    'ns/allow': { file: 'a.yaml', line: 3 },
  })
  t.match(text, /^Answer: +DENIED 403$/m)
  t.match(text, /^Decided by: +default: no ALLOW policy matches$/m)
  t.match(text, /^Note: +the path \/x\/\.\.\/a is \/a to policies and app$/m)
  t.match(
    text,
    /^ALLOW +ns\/allow \(a\.yaml:3\) +no match +rules\[0\]\.from\[0\]\.source\.namespaces: b; is a$/m,
  )
  t.match(text, /^ +rules\[1\]\.to\[0\]\.operation\.methods: GET; is POST$/m)
  t.match(text, /^default +DENY +decides$/m)
  const refused = formatExplanation(await ask({ path: '/#' }), {})
  t.match(refused, /^Answer: +DENIED 400: a fragment$/m)
  t.notMatch(refused, /ORDER/)
})

interface Round {
  readonly decidedIn: string
  /** Absent: the evaluator agrees. */
  readonly wrong?: unknown
}

async function explainRandom(random: Random): Promise<readonly Round[]> {
  const { policies, ...rest } = randomSet(random, { ports: [8080] })
  const plain = { ...rest, policies: policies.filter((p) => p.rego === undefined) }
  const own = await makeVersion(plain)
  const requests = Array.from({ length: 10 }, () => randomRequest(random))
  const readable = requests.filter(({ headers }) => headers.every(([, v]) => !/[^ -~]|!/.test(v)))
  return Promise.all(
    readable.map(async ({ method, path, host, headers }) => {
      const transport = random.pick(['tls', 'plaintext'] as const)
      const said = await explain(own, { ...asked, transport, method, path, host, headers }, context)
      const { seen, decidedIn } = said
      if (seen === undefined || said.guard !== undefined) return { decidedIn }
      const request = { protocol: 'http' as const, destinationPort: seen.port, ...seen }
      const want = decide(plain, request, () => ({ kind: 'undefined' }))
      return want.allowed === said.allowed ? { decidedIn } : { decidedIn, wrong: { said, want } }
    }),
  )
}

t.test('agrees with the evaluator on random sets without Rego', async (t) => {
  const random = seededRandom(31)
  const rounds: Round[] = []
  for (let i = 0; i < 40; i++) rounds.push(...(await explainRandom(random)))
  t.same(rounds.filter((r) => r.wrong !== undefined).slice(0, 1), [])
  for (const lane of ['rbac', 'wasm']) {
    const count = rounds.filter((r) => r.decidedIn === lane).length
    t.ok(count > 5, `${count} ${lane}`)
  }
})
