/**
 * `make bench-rules`: what rules cost in Envoy, as CPU of all its threads per request (proc(5), schedstat), over the
 * same listener that answers without any filter. Writes its part of docs/performance.md.
 * A microsecond is far below what a latency could show. So the variants take turns in short rounds on one Envoy, over
 * connections that stay open, and the cheapest twentieth of the rounds tells the cost: what the machine does beside it only adds.
 * Where a process has its memory makes half a microsecond, to the last round: so the middle one of several Envoys counts.
 */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import { connect as connectTls } from 'node:tls'
import { quantile } from '../demo/load.ts'
import { makeCertificates, type PemPair } from '../test/kit/differential/certificates.ts'
import { startBed } from '../test/kit/differential/run.ts'
import { type Scope, withScope } from '../test/kit/differential/scope.ts'
import { H2Load, type HeaderPair } from '../test/kit/h2-raw.ts'
import { freePorts } from '../test/kit/ports.ts'
import { tempDir } from '../test/kit/tempdir.ts'
import { writePart } from './page.ts'
import { type By, makeFlat, makeRules, pathOf, principalOf, withRego } from './rule-sets.ts'
import { type BedListener, buildBed, type Filters } from './rules-bed.ts'
import { type Cell, formatRules, type Shape, type SizeResult } from './rules-page.ts'

const SIZES = (process.env.SIZES ?? '10,100,1000,10000').split(',').map(Number)
const ROUNDS = Number(process.env.ROUNDS ?? 40)
const ENVOYS = Number(process.env.ENVOYS ?? 5)
const IN_FLIGHT = 100
const ROUND_REQUESTS = 400
/** Not measured: 1,000 rules as a flat list leave nothing in the processor's caches to whoever has the next turn. */
const WARM_UP_REQUESTS = 100
/** A flat list costs so much that fewer requests tell it as well, and 10,000 rules would take minutes. */
const FLAT_REQUESTS = 100
const FLAT_MAX = 1000
const CHEAP = 0.05

const BYS: readonly By[] = ['principal', 'path', 'both']
const ALLOWS: Filters = { kind: 'none', status: 200 }
const DENIES: Filters = { kind: 'none', status: 403 }

interface Variant {
  readonly shape: Shape
  readonly by: By
  readonly filters: Filters
  /** Whether the last rule matches, or none does. */
  readonly hits: boolean
  readonly allowed: boolean
}

function variantsOf(size: number): readonly Variant[] {
  return BYS.flatMap((by): Variant[] => {
    const set = makeRules(by, size, 'ALLOW')
    const allow: Filters = { kind: 'tree', set }
    const deny: Filters = { kind: 'tree', set: makeRules(by, size, 'DENY') }
    const mixed: Filters = { kind: 'tree', set: withRego(set) }
    const variants: Variant[] = [
      { shape: 'allow-hit', by, filters: allow, hits: true, allowed: true },
      { shape: 'allow-miss', by, filters: allow, hits: false, allowed: false },
      { shape: 'deny-hit', by, filters: deny, hits: true, allowed: false },
      { shape: 'deny-miss', by, filters: deny, hits: false, allowed: true },
      { shape: 'with-rego', by, filters: mixed, hits: true, allowed: true },
    ]
    if (size > FLAT_MAX) return variants
    const flat: Filters = { kind: 'flat', rules: makeFlat(by, size) }
    return [...variants, { shape: 'flat', by, filters: flat, hits: true, allowed: true }]
  })
}

function requestTo(path: string): readonly HeaderPair[] {
  return [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', 'orders.shop'],
    [':path', path],
    ['accept', '*/*'],
    ['user-agent', 'postern-bench'],
    ['x-request-id', '0af76519-16cd-43dd-8448-eb211c80319c'],
  ]
}

/** Nanoseconds on CPU of all threads. */
function cpuNs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
    const text = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8')
    return sum + Number(text.split(' ')[0])
  }, 0)
}

async function openLoad(port: number, { certificate, privateKey }: PemPair): Promise<H2Load> {
  const options = { host: '127.0.0.1', port, ALPNProtocols: ['h2'], rejectUnauthorized: false }
  const socket = connectTls({ ...options, cert: certificate, key: privateKey })
  await once(socket, 'secureConnect')
  return new H2Load(socket)
}

interface Lane extends Omit<Variant, 'filters' | 'shape' | 'by'> {
  readonly variant: Variant | undefined
  readonly load: H2Load
  readonly requests: number
  readonly us: number[]
}

/** One round: CPU in µs per request. Throws when the answers aren't what the rules say. */
async function measure(pid: number, lane: Lane, pairs: readonly HeaderPair[]): Promise<number> {
  if (lane.requests > WARM_UP_REQUESTS) await lane.load.send(pairs, WARM_UP_REQUESTS, IN_FLIGHT)
  const before = cpuNs(pid)
  const allowed = await lane.load.send(pairs, lane.requests, IN_FLIGHT)
  const us = (cpuNs(pid) - before) / lane.requests / 1000
  if (allowed !== (lane.allowed ? lane.requests : 0)) {
    throw new Error(`${lane.variant?.shape}: ${allowed} of ${lane.requests} were allowed`)
  }
  return us
}

async function measureSize(t: Scope, size: number): Promise<SizeResult> {
  const variants = variantsOf(size)
  const filters = [ALLOWS, DENIES, ...new Set(variants.map((v) => v.filters))]
  const ports = await freePorts(filters.length)
  const { ca, pairs } = makeCertificates({
    server: ['spiffe://td/ns/ns/sa/app'],
    last: [principalOf(size - 1)],
    none: ['spiffe://td/ns/shop/sa/nobody'],
  })
  const listeners = filters.map(
    (f, i): BedListener => ({ name: `l${i}`, port: ports[i] ?? 0, filters: f }),
  )
  const bed = buildBed({ listeners, ca, server: pairs.server, folder: tempDir(t) })
  const pid = await startBed(t, bed, ports[0] ?? 0)
  const open = (f: Filters, hits: boolean) =>
    openLoad(ports[filters.indexOf(f)] ?? 0, hits ? pairs.last : pairs.none)
  const baseline = async (f: Filters, allowed: boolean): Promise<Lane> => {
    const load = await open(f, true)
    return { variant: undefined, load, hits: true, allowed, requests: ROUND_REQUESTS, us: [] }
  }
  const lanes = [await baseline(ALLOWS, true), await baseline(DENIES, false)]
  for (const variant of variants) {
    const { hits, allowed } = variant
    const requests = variant.shape === 'flat' ? FLAT_REQUESTS : ROUND_REQUESTS
    const load = await open(variant.filters, hits)
    lanes.push({ variant, load, hits, allowed, requests, us: [] })
  }
  const [hit, miss] = [requestTo(pathOf(size - 1)), requestTo('/items/other')]
  // The first round warms caches and is thrown away.
  for (let round = -1; round < ROUNDS; round++) {
    for (const lane of lanes) {
      const us = await measure(pid, lane, lane.hits ? hit : miss)
      if (round >= 0) lane.us.push(us)
    }
  }
  for (const { load } of lanes) load.close()
  return toResult(size, lanes)
}

function toResult(size: number, lanes: readonly Lane[]): SizeResult {
  const costOf = ({ us }: Lane) => quantile(us, CHEAP)
  const baseOf = (allowed: boolean) =>
    lanes.filter((l) => l.variant === undefined && l.allowed === allowed).map(costOf)[0] ??
    Number.NaN
  const cells = lanes.flatMap((lane): Cell[] => {
    if (lane.variant === undefined) return []
    const { shape, by } = lane.variant
    return [{ shape, by, overUs: costOf(lane) - baseOf(lane.allowed) }]
  })
  return { size, allowedUs: baseOf(true), deniedUs: baseOf(false), cells }
}

/** Of one size on several Envoys: the middle of each figure. */
function toMiddle(runs: readonly SizeResult[]): SizeResult {
  const [first] = runs
  if (first === undefined) throw new Error('ENVOYS must be at least 1')
  const middle = (of: (run: SizeResult) => number) => quantile(runs.map(of), 0.5)
  return {
    size: first.size,
    allowedUs: middle((run) => run.allowedUs),
    deniedUs: middle((run) => run.deniedUs),
    cells: first.cells.map((cell, i) => ({
      ...cell,
      overUs: middle((run) => run.cells[i]?.overUs ?? Number.NaN),
    })),
  }
}

function machine(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const day = new Date().toISOString().slice(0, 10)
  const load = os.loadavg()[0]?.toFixed(1)
  return `Commit ${commit}, ${day}, ${os.cpus().length} × ${os.cpus()[0]?.model ?? 'CPU'}, load ${load} from other work.`
}

if (import.meta.main) {
  const before = machine()
  const results: SizeResult[] = []
  for (const size of SIZES) {
    const runs: SizeResult[] = []
    for (let i = 0; i < ENVOYS; i++) runs.push(await withScope((t) => measureSize(t, size)))
    results.push(toMiddle(runs))
  }
  const { text, holds } = formatRules(before, results)
  writePart('rules', text)
  process.stdout.write(`${text}\n`)
  process.exitCode = holds ? 0 : 1
}
