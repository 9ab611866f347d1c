/**
 * Lane 1 against lane 3 (DESIGN §1, promise 5): random policy sets and random raw requests through a real Envoy.
 * The tree's answer must be the evaluator's, given exactly what Envoy shows an external authorizer of the same request.
 * POSTERN_DIFF_PAIRS: how many requests. POSTERN_DIFF_SEED: another run of them.
 */

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { type AuthzDecision, decide, type RegoOutcome } from '../../common/authz/combine.ts'
import { matchPolicyRules } from '../../common/authz/evaluate.ts'
import { findGuard } from '../../common/authz/guards.ts'
import { type Policy, type PolicySet, policyId } from '../../common/policy-set.ts'
import { PASS } from '../../controller/core/lanes/http-rbac.ts'
import { planLanes } from '../../controller/core/lanes/plan.ts'
import type { CheckRequest } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { buildBed } from '../kit/differential/bed.ts'
import { makeCertificates, type PemPair } from '../kit/differential/certificates.ts'
import { RawConnection, type RawResponse } from '../kit/differential/http1.ts'
import { headersOf, startObserver, toAttributes, toRaw } from '../kit/differential/observer.ts'
import { seededRandom } from '../kit/differential/random.ts'
import { type RawRequest, randomRequest } from '../kit/differential/random-request.ts'
import { randomSet } from '../kit/differential/random-set.ts'
import { freePorts } from '../kit/ports.ts'
import { startProcess } from '../kit/process.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'
import { waitForPort } from '../kit/wait.ts'

const PAIRS = Number(process.env.POSTERN_DIFF_PAIRS ?? 8000)
const SEED = Number(process.env.POSTERN_DIFF_SEED ?? 1)
const SETS = Math.max(Math.ceil(PAIRS / 20), 1)
const IN_FLIGHT = 16
const SHOWN = 5

const SANS = {
  server: ['spiffe://td/ns/ns/sa/app'],
  one: ['spiffe://td/ns/a/sa/one'],
  two: ['spiffe://td/ns/a/sa/two'],
  'b-one': ['spiffe://td/ns/b/sa/one'],
  alias: ['spiffe://old/ns/a/sa/one'],
  foreign: ['spiffe://far/ns/a/sa/one'],
  several: ['spiffe://td/ns/a/sa/one', 'spiffe://td/ns/a/sa/two'],
  'no-uri': ['one.example.com'],
} as const

t.test('Envoy and the evaluator give the same answers', async (t) => {
  const random = seededRandom(SEED)
  const [tls = 0, plaintext = 0] = await freePorts(2)
  const sets = Array.from({ length: SETS }, () => randomSet(random, { ports: [tls, plaintext] }))
  const { ca, pairs } = makeCertificates(SANS)
  const setOf = (check: CheckRequest) => requireSet(sets, headersOf(check)['x-set'])
  const observer = await startObserver((check) => expected(setOf(check), check).allowed)
  t.teardown(() => observer.stop())
  const config = join(tempDir(t), 'envoy.json')
  const bed = {
    sets,
    ports: { tls, plaintext },
    observerPort: observer.port,
    ca,
    server: pairs.server,
  }
  writeFileSync(config, JSON.stringify(buildBed(bed)))
  const envoy = startProcess(t, toolPath('envoy'), [
    ...['-c', config, '--disable-hot-restart', '--concurrency', '1', '-l', 'error'],
  ])
  const signal = AbortSignal.timeout(60_000)
  await envoy.waitFor(() => waitForPort(plaintext).then(() => true), { signal })

  const tally = new Map<string, number>()
  const wrong: unknown[] = []
  const count = (what: string) => tally.set(what, (tally.get(what) ?? 0) + 1)
  let next = 0
  const work = async (send: Sender): Promise<void> => {
    while (next < PAIRS) {
      const n = next++
      const index = n % SETS
      const request = randomRequest(random)
      const response = await send(request, index, String(n))
      const check = observer.take(String(n))
      if (check === undefined) {
        count(`refused by Envoy before any filter: ${response.status}`)
        continue
      }
      const set = requireSet(sets, String(index))
      const problem = judge(set, request, check, response)
      count(`${planLanes(set).mode} ${response.status} ${response.headers.get('x-by') ?? 'rbac'}`)
      if (problem !== undefined && wrong.push(problem) <= SHOWN) {
        const attributes = toAttributes(check)
        const headers = { status: response.status, ...Object.fromEntries(response.headers) }
        t.comment(JSON.stringify({ problem, request, attributes, headers, set }))
      }
    }
  }
  const target = { tls, plaintext, pairs }
  const senders = Array.from({ length: IN_FLIGHT }, (_, i) =>
    i % 4 === 3 ? http2Sender(t, target) : http1Sender(t, target),
  )
  await Promise.all(senders.map(work))
  for (const [what, n] of [...tally].sort()) t.comment(`${n} × ${what}`)
  t.equal(wrong.length, 0, `no difference in ${PAIRS} requests to ${SETS} sets, seed ${SEED}`)
  t.ok(
    [...tally.keys()].some((k) => k.startsWith('rbac 200')),
    'some were allowed by Envoy alone',
  )
  t.ok(
    [...tally.keys()].some((k) => k.startsWith('mixed 200')),
    'some by mixed sets',
  )
})

function requireSet(sets: readonly PolicySet[], index: string | undefined): PolicySet {
  const set = sets[Number(index)]
  if (set === undefined) throw new Error(`no set ${index}`)
  return set
}

type Expected = Pick<AuthzDecision, 'allowed' | 'shadow' | 'audit'> & { readonly guard: boolean }

/** What lane 3 answers to what Envoy shows it. */
function expected(set: PolicySet, check: CheckRequest): Expected {
  if (findGuard(toRaw(check)) !== undefined) {
    return { allowed: false, shadow: [], audit: [], guard: true }
  }
  const attributes = toAttributes(check)
  const rego = (policy: Policy) => syntheticRego(policy, `${attributes.method} ${attributes.path}`)
  return { ...decide(set, attributes, rego), guard: false }
}

/** Stands for any Rego: an answer that depends on policy and request in no way that Envoy could know. */
function syntheticRego(policy: Policy, request: string): RegoOutcome {
  let hash = 0
  for (const char of `${policyId(policy)} ${request}`) {
    hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0
  }
  switch (hash % 5) {
    case 0:
      return { kind: 'undefined' }
    case 1:
      return { kind: 'error', code: 'ERR_POLICY_ERROR', message: 'synthetic' }
    default:
      return { kind: 'result', allowed: hash % 2 === 0 }
  }
}

/** What is wrong with Envoy's answer, if anything. */
function judge(
  set: PolicySet,
  request: RawRequest,
  check: CheckRequest,
  response: RawResponse,
): string | undefined {
  const want = expected(set, check)
  // ext_authz is shown the first of several names: only Envoy's guard can tell.
  const allowed = want.allowed && request.peer !== 'several'
  if (response.status !== (allowed ? 200 : 403)) return `want ${allowed ? 200 : 403}`
  const enforced = enforcedName(response)
  if (want.guard || request.peer === 'several') {
    return enforced?.startsWith('guard/') ? undefined : `want a guard, got ${enforced}`
  }
  const isCalled = enforced === PASS && response.headers.get('x-shadow') !== 'allowed'
  if (!isCalled && want.shadow.length + want.audit.length > 0) return 'a record was lost'
  return enforced === PASS || enforced === 'default' ? undefined : judgeRule(set, check, enforced)
}

/** Name of slot 1's decision: on an answer from behind it by metadata, on its own denial by the response code details. */
function enforcedName(response: RawResponse): string | undefined {
  const details = response.headers.get('x-details') ?? ''
  const denied = /^rbac_access_denied_matched_policy\[(.*)\]$/.exec(details)?.[1]
  return denied ?? (details === '' ? response.headers.get('x-enforced') : PASS)
}

/** Whether the rule that Envoy names is one that matches. */
function judgeRule(
  set: PolicySet,
  check: CheckRequest,
  enforced: string | undefined,
): string | undefined {
  const named = findRule(set, enforced)
  if (named === undefined) return `no such rule: ${enforced}`
  const { matched } = matchPolicyRules(named.policy, toAttributes(check), set)
  return matched === named.matches ? undefined : `the named rule ${enforced} says otherwise`
}

/** The policy with only the named rule, and whether that must match; a policy's own name means that it must not. */
function findRule(
  set: PolicySet,
  id: string | undefined,
): { readonly policy: Policy; readonly matches: boolean } | undefined {
  for (const policy of set.policies) {
    if (policyId(policy) === id) return { policy, matches: false }
    const rules = policy.rules?.filter((r) => r.id === id)
    if (rules?.length === 1) return { policy: { ...policy, rules }, matches: true }
  }
  return undefined
}

type Sender = (request: RawRequest, set: number, n: string) => Promise<RawResponse>

interface Target {
  readonly tls: number
  readonly plaintext: number
  readonly pairs: Readonly<Record<string, PemPair>>
}

async function openSocket(
  target: Target,
  request: Pick<RawRequest, 'peer' | 'sourceAddress'>,
  alpn: string,
): Promise<Socket> {
  const port = request.peer === 'plaintext' ? target.plaintext : target.tls
  const socket = connect({ host: '127.0.0.1', port, localAddress: request.sourceAddress })
  await once(socket, 'connect')
  if (request.peer === 'plaintext') return socket
  const pair = target.pairs[request.peer]
  const secure = connectTls({
    socket,
    ALPNProtocols: [alpn],
    rejectUnauthorized: false,
    ...(pair === undefined ? {} : { cert: pair.certificate, key: pair.privateKey }),
  })
  await once(secure, 'secureConnect')
  return secure
}

function http1Sender(t: Test, target: Target): Sender {
  const connections = new Map<string, RawConnection>()
  t.teardown(() => {
    for (const connection of connections.values()) connection.close()
  })
  return (request, set, n) => {
    const { peer, sourceAddress, method, path, host, headers } = request
    const key = `${peer} ${sourceAddress}`
    const connection =
      connections.get(key) ?? new RawConnection(() => openSocket(target, request, 'http/1.1'))
    connections.set(key, connection)
    const lines = [
      `${method} ${path} HTTP/1.1`,
      `Host: ${host}`,
      `x-set: ${set}`,
      `x-n: ${n}`,
      ...headers.map(([name, value]) => `${name}: ${value}`),
      'Content-Length: 0',
    ]
    return connection.send(`${lines.join('\r\n')}\r\n\r\n`)
  }
}

function http2Sender(t: Test, target: Target): Sender {
  const sessions = new Map<string, ClientHttp2Session>()
  t.teardown(() => {
    for (const session of sessions.values()) session.destroy()
  })
  return async (request, set, n) => {
    const { peer, sourceAddress } = request
    const key = `${peer} ${sourceAddress}`
    let session = sessions.get(key)
    if (session === undefined || session.destroyed || session.closed) {
      const socket = await openSocket(target, request, 'h2')
      session = connectHttp2('http://h', { createConnection: () => socket })
      session.on('error', () => {})
      sessions.set(key, session)
    }
    return requestHttp2(session, request, set, n)
  }
}

/** A stream that Envoy resets counts as refused: status 0. */
function requestHttp2(
  session: ClientHttp2Session,
  { method, path, host, headers }: RawRequest,
  set: number,
  n: string,
): Promise<RawResponse> {
  const repeated = new Map<string, string[]>()
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    repeated.set(lower, [...(repeated.get(lower) ?? []), value])
  }
  const merged = {
    [constants.HTTP2_HEADER_METHOD]: method,
    [constants.HTTP2_HEADER_PATH]: path,
    [constants.HTTP2_HEADER_AUTHORITY]: host,
    [constants.HTTP2_HEADER_SCHEME]: 'http',
    'x-set': String(set),
    'x-n': n,
    ...Object.fromEntries(repeated),
  }
  return new Promise((resolve) => {
    let response: RawResponse = { status: 0, headers: new Map() }
    const stream = session.request(merged, { endStream: true })
    stream.on('response', (got) => {
      const seen = Object.entries(got).map(([k, v]) => [k, String(v)] as const)
      response = { status: Number(got[':status']), headers: new Map(seen) }
      stream.resume()
    })
    stream.on('error', () => {})
    stream.on('close', () => resolve(response))
  })
}
