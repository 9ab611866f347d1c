/**
 * Bytes that two readers could read differently (issue 5, Shows 5), once with Envoy deciding by rules and once with the
 * sidecar deciding by Rego: each ends as docs/reference/traffic.md says, and whatever the app gets, the record of the
 * decision shows in the same form.
 */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { DecisionRecord } from '../../common/decision.ts'
import type { Arrival, RawApp } from '../kit/raw/app.ts'
import { RAW_CASES, type RawCase } from '../kit/raw/cases.ts'
import { type Answers, exchange1, exchange2 } from '../kit/raw/client.ts'
import { type RawWorld, startRawWorld, type WorldPolicy } from '../kit/raw/world.ts'
import { compileRego } from '../kit/rego.ts'
import { waitFor } from '../kit/wait.ts'

const DENIED = {
  action: 'DENY' as const,
  rules: [
    { to: [{ operation: { paths: ['/admin', '/admin/*'] } }] },
    { to: [{ operation: { hosts: ['internal.shop'] } }] },
    { to: [{ operation: { methods: ['POST'] } }] },
    { when: [{ key: 'request.headers[x-role]', values: ['admin'] }] },
  ],
}

/** The same refusals, by somebody who writes Rego and trusts what the traffic page says of the input. */
const REGO = `package envoy.authz

http := input.attributes.request.http

default allow := false

allow if {
	not refused
}

refused if http.path == "/admin"
refused if startswith(http.path, "/admin/")
refused if lower(http.host) == "internal.shop"
refused if http.method == "POST"
refused if "admin" in split(http.headers["x-role"], ",")
`

const RULES: readonly WorldPolicy[] = [{ spec: DENIED }, { spec: { rules: [{}] } }]

async function regoPolicies(): Promise<readonly WorldPolicy[]> {
  const spec = {
    rego: { module: REGO, entrypoint: 'envoy/authz/allow', regoVersion: 'V1' as const },
  }
  return [{ spec, wasm: await compileRego({ rego: REGO }) }]
}

async function send(world: RawWorld, { wire, app, bytes, answers }: RawCase): Promise<Answers> {
  const socket = world.connect(app, wire === 'HTTP/2' ? 'h2' : 'http/1.1')
  await once(socket, 'secureConnect')
  return typeof bytes === 'string'
    ? exchange1(socket, bytes, answers.length)
    : exchange2(socket, bytes)
}

/** A request of our own behind each case: what was smuggled comes out before its answer does. */
async function sentinel(world: RawWorld, app: RawCase['app'], n: number): Promise<void> {
  const socket = world.connect(app, 'http/1.1')
  await once(socket, 'secureConnect')
  const text = `GET /sentinel/${n} HTTP/1.1\r\nhost: orders.shop\r\n\r\n`
  const answers = await exchange1(socket, text, 1)
  if (answers[0] !== 200) throw new Error(`the sentinel was answered ${answers[0]}`)
}

function fieldOf({ headers }: Arrival, name: string): string | undefined {
  const values = headers.filter(([n]) => n === name).map(([, value]) => value)
  return values.length === 0 ? undefined : values.join(',')
}

function hostOf(arrival: Arrival): string {
  return fieldOf(arrival, 'host') ?? fieldOf(arrival, ':authority') ?? ''
}

/** Added behind the decision, or of the one hop. */
const NOT_DECIDED = new Set([
  ...['x-postern-decision-id', 'host', 'content-length', 'transfer-encoding', 'connection'],
  ...[':method', ':path', ':authority', ':scheme'],
])

/** What the record must show of what the app got, and nothing else. */
function differences(arrival: Arrival, record: DecisionRecord): readonly string[] {
  const { path, method, host, allowed } = record.postern
  const pairs: [string, unknown, unknown][] = [
    ['allowed', true, allowed],
    ['path', arrival.target, path],
    ['method', arrival.method, method],
    ['host', hostOf(arrival), host],
  ]
  const input = record.input as
    | { attributes: { request: { http: { headers: Record<string, string> } } } }
    | undefined
  const seen = input?.attributes.request.http.headers
  if (seen !== undefined) {
    const names = new Set([...arrival.headers.map(([n]) => n), ...Object.keys(seen)])
    for (const name of names) {
      if (!NOT_DECIDED.has(name)) pairs.push([name, fieldOf(arrival, name), seen[name]])
    }
  }
  return pairs.filter(([, a, b]) => a !== b).map(([name, a, b]) => `${name}: app ${a}, policy ${b}`)
}

async function recordOf(world: RawWorld, arrival: Arrival): Promise<DecisionRecord> {
  const id = fieldOf(arrival, 'x-postern-decision-id')
  return waitFor(() => world.records().find((r) => r.decision_id === id), { what: `record ${id}` })
}

async function check(t: Test, world: RawWorld, raw: RawCase, n: number): Promise<void> {
  const app: RawApp = raw.app === 'http1' ? world.http1 : world.http2
  app.arrivals.length = 0
  const answers = await send(world, raw)
  await sentinel(world, raw.app, n)
  const arrived = app.arrivals.filter((a) => a.target !== `/sentinel/${n}`)
  const got = arrived.map((a) => `${a.method} ${a.target} ${hostOf(a)}`)
  t.same({ answers, got }, { answers: raw.answers, got: raw.arrives }, `${raw.wire}: ${raw.what}`)
  for (const arrival of arrived) {
    const record = await recordOf(world, arrival)
    t.same(differences(arrival, record), [], `${raw.what}: the policy saw what the app got`)
    t.same(arrival.trailers, [], 'no trailers')
    t.not(fieldOf(arrival, 'x-role'), 'admin')
  }
}

/** Envoy takes a second to close a connection that breaks HTTP/2: those wait side by side. */
async function checkResets(t: Test, world: RawWorld, cases: readonly RawCase[]): Promise<void> {
  world.http1.arrivals.length = 0
  const answers = await Promise.all(cases.map((raw) => send(world, raw)))
  await sentinel(world, 'http1', -1)
  for (const [i, { wire, what }] of cases.entries()) {
    t.same(answers[i], ['reset'], `${wire}: ${what}`)
  }
  t.same(
    world.http1.arrivals.map((a) => a.target),
    ['/sentinel/-1'],
    'none of them arrives',
  )
}

async function checkAll(t: Test, policies: readonly WorldPolicy[], lane: string): Promise<void> {
  const world = await startRawWorld(t, policies)
  const isReset = (raw: RawCase) => raw.answers[0] === 'reset'
  let n = 0
  for (const [group, cases] of Object.entries(RAW_CASES)) {
    await t.test(group, async (t) => {
      for (const raw of cases.filter((c) => !isReset(c))) await check(t, world, raw, n++)
      const resets = cases.filter(isReset)
      if (resets.length > 0) await checkResets(t, world, resets)
    })
  }
  for (const arrival of [...world.http1.cut, ...world.http2.cut]) {
    const record = await recordOf(world, arrival)
    t.same(differences(arrival, record), [], 'the policy saw the head of what was cut')
  }
  t.same([...world.http1.garbage, ...world.http2.garbage], [], 'the app got nothing but requests')
  const passed = world.records().filter((r) => r.postern.allowed)
  t.same(
    [...new Set(passed.map((r) => r.postern.lane))],
    [lane],
    `what passed was decided by ${lane}`,
  )
}

t.test('rules, in Envoy', (t) => checkAll(t, RULES, 'rbac'))
t.test('Rego, in the sidecar', async (t) => checkAll(t, await regoPolicies(), 'wasm'))
