/**
 * Lane 1 against lane 3 (DESIGN §1, promise 5): random policy sets and random raw requests through a real Envoy.
 * The tree's answer must be the evaluator's, given exactly what Envoy shows an external authorizer of the same request.
 * POSTERN_DIFF_PAIRS: how many requests. POSTERN_DIFF_SEED: another run of them.
 */

import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'
import t, { type Test } from 'tap'
import { type AuthzDecision, decide, type RegoOutcome } from '../../common/authz/combine.ts'
import { matchPolicyRules } from '../../common/authz/evaluate.ts'
import { findGuard } from '../../common/authz/guards.ts'
import { type Policy, type PolicySet, policyId } from '../../common/policy-set.ts'
import { PASS } from '../../controller/core/lanes/http-rbac.ts'
import { planLanes } from '../../controller/core/lanes/plan.ts'
import type { CheckRequest } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { buildBed, buildTcpBed } from '../kit/differential/bed.ts'
import { makeCertificates } from '../kit/differential/certificates.ts'
import type { RawResponse } from '../kit/differential/http1.ts'
import { headersOf, startObserver, toAttributes, toRaw } from '../kit/differential/observer.ts'
import { seededRandom } from '../kit/differential/random.ts'
import {
  PEERS,
  type Peer,
  type RawRequest,
  randomRequest,
} from '../kit/differential/random-request.ts'
import { randomSet } from '../kit/differential/random-set.ts'
import { http1Sender, http2Sender, openSocket, type Sender } from '../kit/differential/senders.ts'
import { readEvaluationTable } from '../kit/evaluation-table.ts'
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
const TCP_LISTENERS = 36

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
  const ports = { tls, plaintext }
  const bed = { sets, ports, observerPort: observer.port, ca, server: pairs.server }
  await startEnvoy(t, buildBed(bed), plaintext)

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

t.test('on TCP, Envoy and the evaluator give the same answers', async (t) => {
  const random = seededRandom(SEED)
  const ports = await freePorts(TCP_LISTENERS)
  const listeners = ports.map(
    (port, i): TcpListener => ({
      set: randomSet(random, { ports: [port] }),
      port,
      transport: i % 3 === 0 ? 'plaintext' : 'tls',
    }),
  )
  const { ca, pairs } = makeCertificates(SANS)
  await startEnvoy(t, buildTcpBed({ listeners, ca, server: pairs.server }), ports[0] ?? 0)
  const tally = { let: 0, refused: 0 }
  for (const { set, request, peer } of listeners.flatMap(knocks)) {
    const want = !isGuarded(peer) && decide(set, request, neverAsked).allowed
    const { destinationPort: port, sourceAddress } = request
    const target = { tls: port, plaintext: port, pairs }
    const got = await isEchoed(await openSocket(target, { peer, sourceAddress }))
    tally[got ? 'let' : 'refused'] += 1
    if (got !== want) t.fail(JSON.stringify({ want, request, peer, set }))
  }
  t.comment(JSON.stringify(tally))
  t.ok(tally.let > 0 && tally.refused > 0, 'some were let in, some refused')
})

t.test('the truth table of docs/reference/evaluation.md, through Envoy', async (t) => {
  const rows = readEvaluationTable()
  const rowOf = (check: CheckRequest) => rows[Number(headersOf(check)['x-set'])]
  const observer = await startObserver((check) => {
    const row = rowOf(check)
    if (row === undefined) return false
    const rego = (policy: Policy) => row.rego.get(policyId(policy)) ?? neverAsked()
    return decide(row.set, toAttributes(check), rego).allowed
  })
  t.teardown(() => observer.stop())
  const [tls = 0, plaintext = 0] = await freePorts(2)
  const { ca, pairs } = makeCertificates(SANS)
  const options = { ports: { tls, plaintext }, observerPort: observer.port, ca }
  const sets = rows.map((row) => row.set)
  await startEnvoy(t, buildBed({ sets, server: pairs.server, ...options }), plaintext)
  const send = http1Sender(t, { tls, plaintext, pairs })
  for (const [i, row] of rows.entries()) {
    for (const peer of ['plaintext', 'one'] as const) {
      const request = { peer, sourceAddress: '127.0.0.1', method: 'GET', path: '/match' } as const
      const { status } = await send({ ...request, host: 'h', headers: [] }, i, `${peer}-${i}`)
      t.equal(status, row.want.allowed ? 200 : 403, `${peer}: ${row.title}`)
    }
  }
})

interface TcpListener {
  readonly set: PolicySet
  readonly port: number
  readonly transport: 'tls' | 'plaintext'
}

/** Each peer, from two addresses, at a listener of its transport. */
function knocks({ set, port, transport }: TcpListener) {
  return PEERS.filter((p) => (p === 'plaintext') === (transport === 'plaintext')).flatMap((peer) =>
    (['127.0.0.1', '127.0.0.2'] as const).map((sourceAddress) => {
      const principal = uriSansOf(peer)[0]
      const request = { protocol: 'tcp', principal, sourceAddress, destinationPort: port } as const
      return { set, peer, request }
    }),
  )
}

function isGuarded(peer: Peer): boolean {
  return uriSansOf(peer).length > 1 || peer === 'no-uri'
}

function neverAsked(): never {
  throw new Error('Rego is never asked about a connection')
}

function uriSansOf(peer: Peer): readonly string[] {
  const sans: Readonly<Record<string, readonly string[]>> = SANS
  return (sans[peer] ?? []).filter((san) => san.startsWith('spiffe://'))
}

/** Sends a byte: it comes back, or the connection is closed. */
async function isEchoed(socket: Socket): Promise<boolean> {
  socket.on('error', () => {})
  const answered = new Promise<boolean>((resolve) => {
    socket.once('data', () => resolve(true)).once('close', () => resolve(false))
  })
  socket.write('x')
  const echoed = await answered
  socket.destroy()
  return echoed
}

/** Starts Envoy with this bootstrap and waits until it listens on `port`. */
async function startEnvoy(t: Test, bootstrap: JsonObject, port: number): Promise<void> {
  const config = join(tempDir(t), 'envoy.json')
  writeFileSync(config, JSON.stringify(bootstrap))
  const envoy = startProcess(t, toolPath('envoy'), [
    ...['-c', config, '--disable-hot-restart', '--concurrency', '1', '-l', 'error'],
  ])
  const signal = AbortSignal.timeout(60_000)
  await envoy.waitFor(() => waitForPort(port).then(() => true), { signal })
}

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
