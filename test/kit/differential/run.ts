/**
 * Random policy sets and random raw requests to three readers: the tree in a real Envoy, the evaluator that the
 * sidecar uses, and the Rego that the same rules compile to, in a real OPA. HTTP and TCP.
 * In: how many, and a seed. Out: what was answered how often, and each difference.
 */
import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'
import { decide } from '../../../common/authz/combine.ts'
import type { PolicySet } from '../../../common/policy-set.ts'
import { planLanes } from '../../../controller/core/lanes/plan.ts'
import { freePorts } from '../ports.ts'
import { startProcess } from '../process.ts'
import { tempDir } from '../tempdir.ts'
import { toolPath } from '../tools.ts'
import { waitForPort } from '../wait.ts'
import { buildBed, buildTcpBed } from './bed.ts'
import { makeCertificates } from './certificates.ts'
import { expected, judge, toOracleInput } from './judge.ts'
import { headersOf, type Observer, startObserver, toAttributes } from './observer.ts'
import { type OracleRequest, startOracle } from './opa.ts'
import { seededRandom } from './random.ts'
import { PEERS, type Peer, type RawRequest, randomRequest } from './random-request.ts'
import { randomSet } from './random-set.ts'
import type { Scope } from './scope.ts'
import { http1Sender, http2Sender, openSocket, type Sender } from './senders.ts'

const REQUESTS_PER_SET = 20
const IN_FLIGHT = 16
const TCP_LISTENERS = 36

export const SANS = {
  server: ['spiffe://td/ns/ns/sa/app'],
  one: ['spiffe://td/ns/a/sa/one'],
  two: ['spiffe://td/ns/a/sa/two'],
  'b-one': ['spiffe://td/ns/b/sa/one'],
  alias: ['spiffe://old/ns/a/sa/one'],
  foreign: ['spiffe://far/ns/a/sa/one'],
  several: ['spiffe://td/ns/a/sa/one', 'spiffe://td/ns/a/sa/two'],
  'no-uri': ['one.example.com'],
} as const

export interface Difference {
  readonly problem: string
  /** All that reproduces it. */
  readonly seen: unknown
}

export interface DifferentialReport {
  /** Pairs of request and set that all three readers judged. */
  readonly judged: number
  readonly allowed: number
  readonly differences: readonly Difference[]
  /** What was answered, by kind. */
  readonly tally: ReadonlyMap<string, number>
}

class Tally {
  readonly counts = new Map<string, number>()
  readonly differences: Difference[] = []
  judged = 0
  allowed = 0

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  report(): DifferentialReport {
    const { judged, allowed, differences, counts } = this
    return { judged, allowed, differences, tally: new Map([...counts].sort()) }
  }
}

/** `requests` requests to a twentieth as many sets. */
export async function compareHttp(
  t: Scope,
  { requests, seed }: { readonly requests: number; readonly seed: number },
): Promise<DifferentialReport> {
  const random = seededRandom(seed)
  const [tls = 0, plaintext = 0] = await freePorts(2)
  const count = Math.max(Math.ceil(requests / REQUESTS_PER_SET), 1)
  const sets = Array.from({ length: count }, () => randomSet(random, { ports: [tls, plaintext] }))
  const oracle = startOracle(t, sets)
  const { ca, pairs } = makeCertificates(SANS)
  const observer = await startObserver(
    (check) => expected(requireSet(sets, headersOf(check)['x-set']), check).allowed,
  )
  t.teardown(() => observer.stop())
  const bed = { sets, ports: { tls, plaintext }, observerPort: observer.port, ca }
  await startBed(t, buildBed({ ...bed, server: pairs.server }), plaintext)
  const tally = new Tally()
  const asked: Asked[] = []
  let next = 0
  const take = () => (next < requests ? { n: next++, request: randomRequest(random) } : undefined)
  const target = { tls, plaintext, pairs }
  const senders = Array.from({ length: IN_FLIGHT }, (_, i) =>
    i % 4 === 3 ? http2Sender(t, target) : http1Sender(t, target),
  )
  await Promise.all(senders.map((send) => work(send, take, { sets, observer, tally, asked })))
  await compareWithOpa(await oracle, asked, tally)
  return tally.report()
}

interface Asked extends OracleRequest {
  readonly want: boolean
  readonly seen: unknown
}

interface Bench {
  readonly sets: readonly PolicySet[]
  readonly observer: Observer
  readonly tally: Tally
  readonly asked: Asked[]
}

async function work(
  send: Sender,
  take: () => { readonly n: number; readonly request: RawRequest } | undefined,
  { sets, observer, tally, asked }: Bench,
): Promise<void> {
  for (let job = take(); job !== undefined; job = take()) {
    const { n, request } = job
    const index = n % sets.length
    const set = requireSet(sets, String(index))
    const response = await send(request, index, String(n))
    const check = observer.take(String(n))
    if (check === undefined) {
      tally.count(`refused by Envoy before any filter: ${response.status}`)
      continue
    }
    const headers = { status: response.status, ...Object.fromEntries(response.headers) }
    const seen = { request, attributes: toAttributes(check), headers, set }
    const problem = judge(set, request, check, response)
    if (problem !== undefined) tally.differences.push({ problem, seen })
    const by = response.headers.get('x-by') ?? 'rbac'
    tally.count(`${planLanes(set).mode} ${response.status} ${by}`)
    tally.judged++
    if (response.status === 200) tally.allowed++
    const want = expected(set, check).allowed
    asked.push({ set: index, input: toOracleInput(set, check), want, seen })
  }
}

async function compareWithOpa(
  oracle: Awaited<ReturnType<typeof startOracle>>,
  asked: readonly Asked[],
  tally: Tally,
): Promise<void> {
  const answers = await oracle.allows(asked)
  for (const [i, { want, input, seen }] of asked.entries()) {
    if (answers[i] === want) continue
    tally.differences.push({
      problem: `OPA says ${answers[i]}`,
      seen: { input, ...(seen as object) },
    })
  }
}

interface TcpListener {
  readonly set: PolicySet
  readonly port: number
  readonly transport: 'tls' | 'plaintext'
}

/** Each peer, from two addresses, at 36 listeners. Rego is never asked about a connection. */
export async function compareTcp(t: Scope, seed: number): Promise<DifferentialReport> {
  const random = seededRandom(seed)
  const ports = await freePorts(TCP_LISTENERS)
  const listeners = ports.map(
    (port, i): TcpListener => ({
      set: randomSet(random, { ports: [port] }),
      port,
      transport: i % 3 === 0 ? 'plaintext' : 'tls',
    }),
  )
  const sets = listeners.map((l) => l.set)
  const oracle = startOracle(t, sets, 'tcp')
  const { ca, pairs } = makeCertificates(SANS)
  await startBed(t, buildTcpBed({ listeners, ca, server: pairs.server }), ports[0] ?? 0)
  const tally = new Tally()
  const asked: Asked[] = []
  for (const { set, request, peer } of listeners.flatMap(knocks)) {
    const { destinationPort: port, sourceAddress } = request
    const want = decide(set, request, neverAsked).allowed
    const target = { tls: port, plaintext: port, pairs }
    const got = await isEchoed(await openSocket(target, { peer, sourceAddress }))
    const isRight = got === (!isGuarded(peer) && want)
    const seen = { want, got, peer, request, set }
    if (!isRight) tally.differences.push({ problem: `want ${want}`, seen })
    tally.count(got ? 'let in' : 'refused')
    tally.judged++
    if (got) tally.allowed++
    asked.push({ set: ports.indexOf(port), input: toTcpInput(request), want, seen })
  }
  await compareWithOpa(await oracle, asked, tally)
  return tally.report()
}

type Knock = ReturnType<typeof knocks>[number]

function knocks({ set, port, transport }: TcpListener) {
  return PEERS.filter((p) => (p === 'plaintext') === (transport === 'plaintext')).flatMap((peer) =>
    (['127.0.0.1', '127.0.0.2'] as const).map((sourceAddress) => {
      const principal = uriSansOf(peer)[0]
      const request = { protocol: 'tcp', principal, sourceAddress, destinationPort: port } as const
      return { set, peer, request }
    }),
  )
}

function toTcpInput({ principal, sourceAddress, destinationPort }: Knock['request']): unknown {
  const at = (address: string, portValue: number) => ({ socketAddress: { address, portValue } })
  return {
    attributes: {
      source: {
        address: at(sourceAddress, 40000),
        ...(principal === undefined ? {} : { principal }),
      },
      destination: { address: at('127.0.0.1', destinationPort) },
    },
  }
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
export async function startBed(t: Scope, bootstrap: JsonObject, port: number): Promise<number> {
  const config = join(tempDir(t), 'envoy.json')
  writeFileSync(config, JSON.stringify(bootstrap))
  const envoy = startProcess(t, toolPath('envoy'), [
    ...['-c', config, '--disable-hot-restart', '--concurrency', '1', '-l', 'error'],
  ])
  const signal = AbortSignal.timeout(120_000)
  await envoy.waitFor(() => waitForPort(port).then(() => true), { signal })
  return envoy.pid
}

export function requireSet(sets: readonly PolicySet[], index: string | undefined): PolicySet {
  const set = sets[Number(index)]
  if (set === undefined) throw new Error(`no set ${index}`)
  return set
}
