/**
 * Drill: three readers of the same rules (issue 5, Shows 4): Envoy's tree, the evaluator, and the Rego that the rules
 * compile to. Random rule sets and raw requests, in rounds of one seed, one Envoy and one OPA each.
 */
import { compareHttp, compareTcp, type DifferentialReport } from '../test/kit/differential/run.ts'
import { withScope } from '../test/kit/differential/scope.ts'
import { claim, type DrillReport } from './report.ts'

const ROUND = 8000
const FIRST_SEED = 1000

function sum(
  reports: readonly DifferentialReport[],
  of: (r: DifferentialReport) => number,
): number {
  return reports.reduce((total, report) => total + of(report), 0)
}

function figures(reports: readonly DifferentialReport[], seeds: readonly number[]): string {
  const [judged, allowed] = [sum(reports, (r) => r.judged), sum(reports, (r) => r.allowed)]
  const seen = reports.flatMap((r) => r.differences)
  const first = seen[0] === undefined ? '' : `, the first: ${JSON.stringify(seen[0]).slice(0, 500)}`
  return `${seen.length} in ${judged} pairs (${allowed} allowed, ${judged - allowed} denied; seeds ${seeds[0]}–${seeds.at(-1)})${first}`
}

/** Goes on with further seeds until `pairs` requests were judged: what Envoy refuses before any filter is none. */
export async function drillDifferential(pairs: number): Promise<DrillReport> {
  const http: DifferentialReport[] = []
  const tcp: DifferentialReport[] = []
  const seeds: number[] = []
  while (sum(http, (r) => r.judged) < pairs) {
    const seed = FIRST_SEED + seeds.length
    seeds.push(seed)
    http.push(await withScope((scope) => compareHttp(scope, { requests: ROUND, seed })))
    tcp.push(await withScope((scope) => compareTcp(scope, seed)))
  }
  const none = (reports: readonly DifferentialReport[]) =>
    reports.every((r) => r.differences.length === 0)
  return {
    name: 'rules: Envoy, the evaluator and OPA',
    claims: [
      claim('HTTP: no difference', none(http), figures(http, seeds)),
      claim('TCP: no difference', none(tcp), figures(tcp, seeds)),
    ],
  }
}

if (import.meta.main) {
  const { claims } = await drillDifferential(Number(process.env.PAIRS ?? 52_000))
  for (const c of claims) process.stdout.write(`${c.holds ? '✓' : '✗'} ${c.text}: ${c.seen}\n`)
  process.exitCode = claims.every((c) => c.holds) ? 0 : 1
}
