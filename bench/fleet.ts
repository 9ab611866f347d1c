/**
 * `make bench-fleet`: a real controller with a generated mesh and a fleet of real protocol clients. Who gets what of an
 * edit, when the last one has it, and what it costs; what of it grows with what exists. Writes its part of
 * docs/performance.md; ends with 1 when a claim doesn't hold. `FLEET`: proxies of the largest run, 0 for none.
 */

import { execFileSync } from 'node:child_process'
import os from 'node:os'
import type { MeshSize } from './fleet/mesh.ts'
import { formatFleet, toRunRow } from './fleet/page.ts'
import { type RunResult, runFleet } from './fleet/run.ts'
import { writePart } from './page.ts'

const ROUNDS = 5
const WORKLOADS_A_SERVICE = 5
const MAIN: MeshSize = { services: 200, workloads: 1000, policies: 1000 }
const GROWTH: readonly MeshSize[] = [
  ...[100, 300].map((workloads) => sizeOf(workloads, 1000)),
  ...[100, 300].map((policies) => sizeOf(1000, policies)),
]
/** Where both sides of 5,000 proxies surely fit. */
const LARGE_NEEDS_BYTES = 10 * 1024 ** 3
const LARGE_ROUNDS = 3

function sizeOf(workloads: number, policies: number): MeshSize {
  return { services: workloads / WORKLOADS_A_SERVICE, workloads, policies }
}

function machine(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const day = new Date().toISOString().slice(0, 10)
  const load = os.loadavg()[0]?.toFixed(1)
  return `Commit ${commit}, ${day}, ${os.cpus().length} × ${os.cpus()[0]?.model ?? 'CPU'}, load ${load} from other work.`
}

function largeSize(): MeshSize | undefined {
  const fits = os.freemem() > LARGE_NEEDS_BYTES
  const workloads = Number(process.env.FLEET ?? (fits ? 5000 : 0))
  return workloads === 0 ? undefined : sizeOf(workloads, 1000)
}

async function measure(size: MeshSize, rounds: number): Promise<RunResult> {
  process.stdout.write(`${size.workloads} proxies, ${size.policies} policies …\n`)
  const result = await runFleet(size, rounds)
  process.stdout.write(`${toRunRow(result)}\n`)
  return result
}

if (import.meta.main) {
  const before = machine()
  const main = await measure(MAIN, ROUNDS)
  const growth: RunResult[] = []
  for (const size of GROWTH) growth.push(await measure(size, ROUNDS))
  const large = largeSize()
  const largeResult = large && (await measure(large, LARGE_ROUNDS))
  const { text, holds } = formatFleet(before, { main, growth, large: largeResult })
  writePart('fleet', text)
  process.stdout.write(`${text}\n`)
  process.exitCode = holds ? 0 : 1
}
