/**
 * Keeps the check worker on the newest good bundle: stored one first, then the controller's, by long poll.
 *
 *   stored ─▶ verify ─▶ activate ─┐
 *                                 ▼
 *   fetch ─▶ verify ─▶ activate ─▶ persist ─▶ fetch …      anything that fails: log, keep what is active, back off
 *
 * A controller that is away changes nothing; a bundle that does not hold is refused, named and asked for again.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { unpackBundle } from '../../common/bundle.ts'
import { MeshError } from '../../common/errors.ts'
import { whyOlder } from '../../common/features.ts'
import { backoffMs } from '../core/xds/backoff.ts'
import type { CheckWorker } from '../ports.ts'
import type { BundleAnswer, BundleSource, BundleStore } from './bundle-ports.ts'
import type { Log } from './xds-ports.ts'

export interface BundleLoopOptions {
  readonly source: BundleSource
  readonly store: BundleStore
  readonly worker: CheckWorker
  /** `namespace/name`: a bundle of another workload is refused, also when it was stored here. */
  readonly workload: string
  readonly log: Log
  /** ∈ [0,1). */
  readonly random: () => number
}

export interface BundleLoop {
  /** Why the newest bundle is not active; undefined: it is, as far as is known. */
  problem(): string | undefined
  /** Why a restart would lack the newest; undefined: it would not. */
  storeProblem(): string | undefined
  /** Tokens of common/features.ts that the active bundle needs: an older controller must not replace it. */
  requires(): readonly string[]
  figures(): BundleFigures
  /** When either problem comes, changes or ends. */
  onChange(listener: () => void): () => void
  stop(): Promise<void>
}

export interface BundleFigures {
  /** Epoch milliseconds at which the controller last said what is the newest; undefined: not yet in this process. */
  readonly confirmedAtMs: number | undefined
  readonly failures: number
  /** The controller's clock minus ours, as it is now. */
  readonly skewMs: number | undefined
}

/** The controller answers earlier when something changes; below the idle timeouts of what may stand between. */
const WAIT_SECONDS = 50
/** What could not be stored is tried again this often. */
const STORE_RETRY_SECONDS = 5
/** A server that answers "unchanged" at once, without waiting, is asked no more often than this. */
const MIN_INTERVAL_MS = 1_000

/** Resolves when the stored bundle, if there is a good one, answers; fetching goes on until `stop`. */
export async function startBundleLoop(options: BundleLoopOptions): Promise<BundleLoop> {
  const loop = new Loop(options)
  await loop.activateStored()
  loop.start()
  return loop
}

class Loop implements BundleLoop {
  readonly #options: BundleLoopOptions
  readonly #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #etag: string | undefined
  readonly #listeners = new Set<() => void>()
  #said = ''
  #problem: string | undefined
  #requires: readonly string[] = []
  #unstored: { readonly archive: Uint8Array; readonly problem: string } | undefined
  #figures = { confirmedAtMs: undefined as number | undefined, failures: 0 }
  /** The controller's clock minus our monotonic one: ours may jump, the next answer may be a minute away. */
  #controllerEpochMs: number | undefined

  constructor(options: BundleLoopOptions) {
    this.#options = options
  }

  problem(): string | undefined {
    return this.#problem
  }

  storeProblem(): string | undefined {
    return this.#unstored?.problem
  }

  requires(): readonly string[] {
    return this.#requires
  }

  figures(): BundleFigures {
    const epochMs = this.#controllerEpochMs
    const skewMs = epochMs === undefined ? undefined : epochMs + performance.now() - Date.now()
    return { ...this.#figures, skewMs }
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async activateStored(): Promise<void> {
    const { store, log } = this.#options
    try {
      const archive = await store.load()
      if (archive === undefined) return
      const revision = await this.#activate(archive)
      this.#etag = `"${revision}"`
      log.info({ revision }, 'stored policy bundle is active')
    } catch (err) {
      this.#problem = messageOf(err)
      log.warn({ err }, 'stored policy bundle is not usable')
    }
  }

  async #run(): Promise<void> {
    let failures = 0
    while (!this.#stop.signal.aborted) {
      const startedMs = performance.now()
      try {
        if (this.#unstored !== undefined) await this.#save(this.#unstored.archive)
        const answer = await this.#fetch()
        if (answer.kind === 'bundle') await this.#take(answer)
        failures = 0
        this.#noteConfirmed(answer)
        if (answer.kind === 'unchanged') this.#noteUnchanged(answer.withheld)
        this.#tell()
        if (answer.kind !== 'bundle')
          await this.#pause(MIN_INTERVAL_MS - (performance.now() - startedMs))
      } catch (err) {
        if (this.#stop.signal.aborted) return
        failures += 1
        this.#figures = { ...this.#figures, failures: this.#figures.failures + 1 }
        this.#problem = messageOf(err)
        this.#options.log.warn({ err, failures }, 'policy bundle not updated; the last one stays')
        this.#tell()
        await this.#pause(backoffMs(failures, this.#options.random()))
      }
    }
  }

  #tell(): void {
    const says = JSON.stringify([this.#problem, this.#unstored?.problem])
    if (says === this.#said) return
    this.#said = says
    for (const listener of this.#listeners) listener()
  }

  #fetch(): Promise<BundleAnswer> {
    return this.#options.source.fetch({
      etag: this.#etag,
      waitSeconds: this.#waitSeconds(),
      signal: this.#stop.signal,
    })
  }

  #waitSeconds(): number {
    // The first answer also says that what is stored is the newest, and the controller's time.
    if (this.#etag === undefined || this.#figures.confirmedAtMs === undefined) return 0
    return this.#unstored === undefined ? WAIT_SECONDS : STORE_RETRY_SECONDS
  }

  #noteConfirmed(answer: BundleAnswer): void {
    if (answer.kind === 'interrupted') return
    this.#figures = { ...this.#figures, confirmedAtMs: Date.now() }
    if (answer.skewMs !== undefined)
      this.#controllerEpochMs = answer.skewMs + Date.now() - performance.now()
  }

  /** Nothing new is good news, unless there is something that we are not given. */
  #noteUnchanged(withheld: string | undefined): void {
    const problem = withheld && `ERR_BUNDLE_INVALID: the newest is withheld: ${withheld}`
    if (problem !== undefined && problem !== this.#problem)
      this.#options.log.warn({ reason: withheld }, 'policy bundle withheld; the last one stays')
    this.#problem = problem
  }

  async #take(answer: Extract<BundleAnswer, { kind: 'bundle' }>): Promise<void> {
    const { log } = this.#options
    const older = whyOlder(this.#requires, answer.features)
    if (older !== undefined) throw new MeshError('ERR_BUNDLE_INVALID', older, { retry: 'backoff' })
    const revision = await this.#activate(answer.archive)
    this.#etag = answer.etag
    this.#problem = undefined
    log.info({ revision }, 'policy bundle is active')
    await this.#save(answer.archive)
  }

  async #save(archive: Uint8Array): Promise<void> {
    const { store, log } = this.#options
    try {
      await store.save(archive)
      this.#unstored = undefined
    } catch (err) {
      const message = 'policy bundle not stored; a restart will not have it'
      if (this.#unstored === undefined) log.error({ err }, message)
      this.#unstored = { archive, problem: `${message}: ${messageOf(err)}` }
    }
  }

  /** Errors: ERR_BUNDLE_INVALID; the bundle before stays active. */
  async #activate(archive: Uint8Array): Promise<string> {
    const { revision, set } = await unpackBundle(archive)
    if (set.workload !== this.#options.workload)
      throw new MeshError('ERR_BUNDLE_INVALID', `bundle is of workload ${set.workload}`)
    await this.#options.worker.activate({ revision, archive })
    this.#requires = set.requires ?? []
    return revision
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await delay(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined)
  }
}

function messageOf(error: unknown): string {
  return error instanceof MeshError ? `${error.code}: ${error.message}` : String(error)
}
