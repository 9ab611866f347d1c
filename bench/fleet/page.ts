/**
 * The figures of bench/fleet.ts as the marked part of docs/performance.md, and which of its claims hold.
 * In: results. Out: Markdown; the rest of the page is left alone.
 */
import { quantile } from '../../demo/load.ts'
import type { EditResult } from './fleet.ts'
import type { RunResult } from './run.ts'

const MAX_ACK_MS = 1000
const MAX_RSS_MIB = 400
/** Ten times as much may exist for at most so many times the cost, when as much changed. */
const MAX_GROWTH = 3

export interface FleetResults {
  /** The fleet of the claims: 1,000 proxies, 200 services, 1,000 policies. */
  readonly main: RunResult
  /** As many policies, fewer proxies; as many proxies, fewer policies. */
  readonly growth: readonly RunResult[]
  readonly large: RunResult | undefined
}

interface Claim {
  readonly text: string
  readonly holds: boolean
}

export function formatFleet(machine: string, results: FleetResults) {
  const claims = claimsOf(results)
  const runs = [...results.growth, results.main, ...(results.large ? [results.large] : [])]
  const text = `## A fleet on one controller

Written by \`make bench-fleet\`. ${machine}

Each proxy is a real client: an SVID bought with a join token, mutual TLS, delta xDS by the sidecar's own reducer, ProxyStatus, the bundle
long poll; all in one process on the same machine. An edit is the atomic save of one file. *Last ACK* counts from the save, ${rounds(results)} edits each:
median, and the worst in brackets. CPU is the controller's, per edit, with all that follows from it (bundles, status, ACKs).

### Edits, ${n(results.main.size.workloads)} proxies, ${n(results.main.size.services)} services, ${n(results.main.size.policies)} policies

| edit | proxies that got a message | last ACK, ms | last bundle, ms | xDS bytes | bundle bytes | CPU, ms |
| --- | --- | --- | --- | --- | --- | --- |
${toEditRow('a policy of one workload', results.main.one)}
${toEditRow('a policy of the whole mesh', results.main.all)}
${toEditRow('an endpoint moves', results.main.endpoint)}

### What exists, and what an edit costs

| proxies | policies | start to ready, s | all joined, s | sent until then | RSS ready / joined / peak, MiB | one workload: last ACK, ms | CPU, ms | whole mesh: last ACK, ms | CPU, ms | idle CPU |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${runs.map(toRunRow).join('\n')}

${claims.map(({ text, holds }) => `- ${holds ? '✓' : '✗'} ${text}`).join('\n')}`
  return { text, holds: claims.every((c) => c.holds) }
}

function claimsOf({ main, growth }: FleetResults): readonly Claim[] {
  const most = Math.max(...main.one.map((e) => e.proxies.length))
  const ack = median(main.all, 'ackMs')
  const [fewProxies, fewPolicies] = [smallest(growth, 'workloads'), smallest(growth, 'policies')]
  const grew = (run: RunResult | undefined) =>
    run === undefined ? Number.NaN : median(main.one, 'cpuMs') / median(run.one, 'cpuMs')
  const [byProxies, byPolicies] = [grew(fewProxies), grew(fewPolicies)]
  return [
    claim(`An edit that concerns one proxy sends to one proxy: seen ${most}`, most === 1),
    claim(
      `A file whose new text means the same sends nothing: seen ${main.sentForNothing} proxies`,
      main.sentForNothing === 0,
    ),
    claim(
      `An edit that concerns all is ACKed by all within ${MAX_ACK_MS} ms: seen ${ack.toFixed(0)} ms`,
      ack <= MAX_ACK_MS,
    ),
    claim(
      `The controller stays below ${MAX_RSS_MIB} MiB: seen ${main.rss.peakMiB.toFixed(0)} MiB at its peak`,
      main.rss.peakMiB <= MAX_RSS_MIB,
    ),
    claim(
      `Ten times the proxies make an edit for one of them at most ${MAX_GROWTH} times as dear: seen ${byProxies.toFixed(1)}`,
      byProxies <= MAX_GROWTH,
    ),
    claim(
      `Ten times the policies likewise: seen ${byPolicies.toFixed(1)}`,
      byPolicies <= MAX_GROWTH,
    ),
    claim(`No stream or poll was lost: seen ${main.failures}`, main.failures === 0),
  ]
}

function smallest(runs: readonly RunResult[], key: 'workloads' | 'policies') {
  return [...runs].sort((a, b) => a.size[key] - b.size[key])[0]
}

function claim(text: string, holds: boolean): Claim {
  return { text: `${text}.`, holds }
}

function rounds({ main }: FleetResults): string {
  return String(main.one.length)
}

function median(edits: readonly EditResult[], key: 'ackMs' | 'bundleMs' | 'cpuMs'): number {
  return quantile(
    edits.map((e) => e[key]),
    0.5,
  )
}

function spread(edits: readonly EditResult[], key: 'ackMs' | 'bundleMs' | 'cpuMs'): string {
  const worst = Math.max(...edits.map((e) => e[key]))
  return `${median(edits, key).toFixed(0)} (${worst.toFixed(0)})`
}

function toEditRow(what: string, edits: readonly EditResult[]): string {
  const [last] = edits.slice(-1)
  const proxies = [...new Set(edits.map((e) => e.proxies.length))].join(', ')
  const bundle = last?.bundles === 0 ? '–' : spread(edits, 'bundleMs')
  const cells = [
    what,
    proxies,
    spread(edits, 'ackMs'),
    bundle,
    n(last?.xdsBytes ?? 0),
    n(last?.bundleBytes ?? 0),
    spread(edits, 'cpuMs'),
  ]
  return `| ${cells.join(' | ')} |`
}

/** One line of the table of runs. */
export function toRunRow(run: RunResult): string {
  const { readyMiB, connectedMiB, peakMiB } = run.rss
  const cells = [
    n(run.size.workloads),
    n(run.size.policies),
    (run.readyMs / 1000).toFixed(1),
    (run.connectMs / 1000).toFixed(0),
    `${(run.startBytes / 1e6).toFixed(1)} MB`,
    [readyMiB, connectedMiB, peakMiB].map((m) => m.toFixed(0)).join(' / '),
    spread(run.one, 'ackMs'),
    spread(run.one, 'cpuMs'),
    spread(run.all, 'ackMs'),
    spread(run.all, 'cpuMs'),
    `${(run.idleCpuShare * 100).toFixed(1)} %`,
  ]
  return `| ${cells.join(' | ')} |`
}

function n(value: number): string {
  return value.toLocaleString('en')
}
