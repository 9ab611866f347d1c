/**
 * A whole fleet against one controller process: generated manifests, the controller, its proxies, and edits of which
 * it is told who got what and when. In: sizes and folders. Out: tallies. Ends everything that it started.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join as joinPath } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { askController } from '../../cli/admin-client.ts'
import { Ledger, type Tally } from './ledger.ts'
import { buildManifests, type MeshSize } from './mesh.ts'
import { FleetProxy, join } from './proxy.ts'

export interface ControllerHandle {
  readonly pid: number
  readonly state: string
  /** `HOST:PORT` of the TLS port. */
  readonly target: string
}

/** Handshakes at a time: a fleet that starts at once is another question. */
const CONCURRENT_JOINS = 16
/** So long after the last message an edit counts as through. */
const QUIET_MS = 400
const SETTLE_TIMEOUT_MS = 120_000

export function writeManifests(folder: string, size: MeshSize): void {
  for (const [name, text] of buildManifests(size)) {
    const path = joinPath(folder, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
}

/** What the controller's process has used so far. Source: proc(5), stat and status. */
export function usageOf(pid: number): { cpuMs: number; rssMiB: number; peakMiB: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? Number.NaN)
  // Ticks are of 10 ms on every Linux that Node runs on (USER_HZ).
  const cpuMs = (Number(fields[11]) + Number(fields[12])) * 10
  return { cpuMs, rssMiB: kib('VmRSS') / 1024, peakMiB: kib('VmHWM') / 1024 }
}

/** A new text of a file, and how many proxies and bundles it concerns at least. */
export interface Change {
  readonly text: string
  readonly proxies: number
  readonly bundles: number
}

export interface EditResult extends Tally {
  /** From the rename that puts the new text in place to the last ACK. */
  readonly ackMs: number
  /** To the last bundle that was fetched; without any it means nothing. */
  readonly bundleMs: number
  readonly cpuMs: number
}

export class Fleet {
  readonly ledger = new Ledger()
  readonly #controller: ControllerHandle
  readonly #proxies: FleetProxy[] = []

  constructor(controller: ControllerHandle) {
    this.#controller = controller
  }

  get size(): number {
    return this.#proxies.length
  }

  /** Joins these workloads and connects their proxies; resolves when all have what they are served. */
  async connect(workloads: readonly string[]): Promise<void> {
    const queue = [...workloads]
    const worker = async () => {
      for (let name = queue.shift(); name !== undefined; name = queue.shift())
        await this.#connectOne(name)
    }
    await Promise.all(Array.from({ length: CONCURRENT_JOINS }, worker))
    await this.settle()
  }

  async #connectOne(workload: string): Promise<void> {
    const { state, target } = this.#controller
    const answer = await askController(state, 'POST', '/tokens', { workload })
    const svid = await join(target, (answer as { token: string }).token)
    const proxy = new FleetProxy({ target, svid, ledger: this.ledger })
    this.#proxies.push(proxy)
    proxy.start()
  }

  /** Resolves when nothing has come for a while. */
  async settle(quietMs = QUIET_MS): Promise<void> {
    const end = performance.now() + SETTLE_TIMEOUT_MS
    while (this.ledger.quietMs() < quietMs) {
      if (performance.now() > end) throw new Error('the fleet does not come to rest')
      await wait(quietMs / 4)
    }
  }

  /** Saves a file of `folder` and waits until as many proxies as should have ACKed something, and then for rest. */
  async edit(folder: string, name: string, change: Change): Promise<EditResult> {
    const path = joinPath(folder, name)
    const before = usageOf(this.#controller.pid)
    this.ledger.begin()
    writeFileSync(`${path}.tmp`, change.text)
    const startMs = performance.now()
    renameSync(`${path}.tmp`, path)
    await this.#until(
      `${name} at ${change.proxies} proxies`,
      ({ proxies, bundles }) => proxies.length >= change.proxies && bundles >= change.bundles,
    )
    await this.settle()
    const tally = this.ledger.tally()
    return {
      ...tally,
      ackMs: tally.lastAckMs - startMs,
      bundleMs: tally.lastBundleMs - startMs,
      cpuMs: usageOf(this.#controller.pid).cpuMs - before.cpuMs,
    }
  }

  /** The admin socket isn't asked meanwhile: its answer costs what is to be measured. */
  async #until(what: string, condition: (tally: Tally) => boolean): Promise<void> {
    const end = performance.now() + SETTLE_TIMEOUT_MS
    while (!condition(this.ledger.tally())) {
      if (performance.now() > end) {
        const { proxies, bundles } = this.ledger.tally()
        const lost = [...this.ledger.failures].slice(0, 3).join('; ')
        throw new Error(
          `${what}: only ${proxies.length} proxies, ${bundles} bundles; lost: ${lost}`,
        )
      }
      await wait(5)
    }
  }

  stop(): void {
    for (const proxy of this.#proxies) proxy.stop()
  }
}
