/**
 * One controller process with one fleet, and the edits that the bench makes of it.
 * In: how large. Out: figures. Leaves nothing behind: folders, processes and connections end with the run.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type Child, isFree, probe, startNode, waitFor } from '../../demo/process.ts'
import { build } from '../../scripts/build.ts'
import { type EditResult, Fleet, usageOf, writeManifests } from './fleet.ts'
import {
  buildMeshWide,
  buildPolicy,
  buildWorkload,
  hearersOf,
  MESH_WIDE_FILE,
  type MeshSize,
  ONE_WORKLOAD_FILE,
  workloadFile,
  workloadNames,
} from './mesh.ts'

const FIRST_PORT = 29_400
const READY_MS = 120_000
const IDLE_MS = 10_000
/** Whose endpoint moves. */
const MOVED = 1

export interface RunResult {
  readonly size: MeshSize
  /** From the controller's start to its readiness; with all its manifests to read, and Rego to compile. */
  readonly readyMs: number
  /** Until all proxies had joined, connected and had everything. */
  readonly connectMs: number
  /** xDS and bundles, all proxies together. */
  readonly startBytes: number
  readonly one: readonly EditResult[]
  readonly all: readonly EditResult[]
  readonly endpoint: readonly EditResult[]
  /** Proxies that were sent something though the file's new text means the same. */
  readonly sentForNothing: number
  readonly failures: number
  readonly idleCpuShare: number
  readonly rss: {
    readonly readyMiB: number
    readonly connectedMiB: number
    readonly peakMiB: number
  }
}

/** `rounds`: how often each edit is made. */
export async function runFleet(size: MeshSize, rounds: number): Promise<RunResult> {
  const work = mkdtempSync(join(os.tmpdir(), 'postern-fleet-'))
  const manifests = join(work, 'manifests')
  const state = join(work, 'state')
  mkdirSync(manifests)
  writeManifests(manifests, size)
  const startMs = performance.now()
  const { child, target } = await startController(work, { manifests, state })
  const fleet = new Fleet({ pid: child.pid, state, target })
  try {
    const readyMs = performance.now() - startMs
    const readyMiB = usageOf(child.pid).rssMiB
    const connectMs = performance.now()
    await fleet.connect(workloadNames(size))
    const { xdsBytes, bundleBytes } = fleet.ledger.tally()
    const start = {
      size,
      readyMs,
      connectMs: performance.now() - connectMs,
      startBytes: xdsBytes + bundleBytes,
    }
    const connectedMiB = usageOf(child.pid).rssMiB
    const edits = await makeEdits(fleet, manifests, { size, rounds })
    const cpuBefore = usageOf(child.pid).cpuMs
    await wait(IDLE_MS)
    const idleCpuShare = (usageOf(child.pid).cpuMs - cpuBefore) / IDLE_MS
    const rss = { readyMiB, connectedMiB, peakMiB: usageOf(child.pid).peakMiB }
    return { ...start, ...edits, idleCpuShare, rss, failures: fleet.ledger.failures.size }
  } finally {
    fleet.stop()
    await child.stop(20_000)
    rmSync(work, { recursive: true, force: true })
  }
}

async function makeEdits(
  fleet: Fleet,
  manifests: string,
  { size, rounds }: { readonly size: MeshSize; readonly rounds: number },
) {
  const [one, all, endpoint]: [EditResult[], EditResult[], EditResult[]] = [[], [], []]
  const editOne = (revision: number, comment = '') => {
    const text = `${comment}${buildPolicy(size, 0, revision)}`
    return fleet.edit(manifests, ONE_WORKLOAD_FILE, { text, proxies: 1, bundles: 1 })
  }
  for (let revision = 1; revision <= rounds; revision++) {
    one.push(await editOne(revision))
    const wide = { proxies: fleet.size, bundles: fleet.size, text: buildMeshWide(0, revision) }
    all.push(await fleet.edit(manifests, MESH_WIDE_FILE, wide))
    const text = buildWorkload(size, MOVED, revision)
    const moved = { text, proxies: hearersOf(size, MOVED), bundles: 0 }
    endpoint.push(await fleet.edit(manifests, workloadFile(MOVED), moved))
  }
  const same = { text: `# the same\n${buildMeshWide(0, rounds)}`, proxies: 0, bundles: 0 }
  await fleet.edit(manifests, MESH_WIDE_FILE, same)
  // What this one sends comes after whatever the one before would have sent.
  const fence = await editOne(rounds + 1)
  return { one, all, endpoint, sentForNothing: fence.proxies.length - 1 }
}

/** As it is installed: built, by `bin/postern`, which sets what the memory allocator and V8 shall do. */
async function startController(
  work: string,
  folders: { readonly manifests: string; readonly state: string },
): Promise<{ readonly child: Child; readonly target: string }> {
  let port = FIRST_PORT
  while (!(await isFree(port)) || !(await isFree(port + 1))) port += 2
  const child = startNode({
    name: 'controller',
    command: join(await build(), 'bin/postern'),
    args: [
      'controller',
      ...['--manifests', folders.manifests, '--state', folders.state],
      ...['--listen', `127.0.0.1:${port}`, '--health', `127.0.0.1:${port + 1}`],
    ],
    logFile: join(work, 'controller.log'),
  })
  const isReady = async () => (await probe(port + 1, '/readyz')) === 200
  await waitFor('the controller is ready', isReady, { timeoutMs: READY_MS, child })
  return { child, target: `127.0.0.1:${port}` }
}
