/**
 * The controller's loop: gather (files) → decide (core/accept, core/translate, core/xds, core/bundle) → apply (store,
 * then publish). Level-based: each pass starts from all files and what is in force.
 * Never publishes what is not stored, never stores what is not wholly accepted, never forgets the last good.
 */
import type { Clock } from '../../common/clock.ts'
import { MeshError } from '../../common/errors.ts'
import { isSameState, wasmDigests } from '../core/accept/generation.ts'
import { type AcceptedState, NOTHING_ACCEPTED } from '../core/accept/objects.ts'
import { type Proposals, propose } from '../core/accept/propose.ts'
import { readManifests } from '../core/accept/reading.ts'
import { type Settlement, settle } from '../core/accept/settle.ts'
import { readStoredState } from '../core/accept/stored.ts'
import { CompileCache } from './compile-cache.ts'
import type {
  Authority,
  ClusterSource,
  GenerationStore,
  LoadedGeneration,
  Log,
  ManifestFile,
  ManifestSource,
  RegoCompiler,
} from './ports.ts'
import { ProblemLog } from './problem-log.ts'
import { buildPublication, type Publication } from './publication.ts'
import { Queue } from './queue.ts'

export interface ReconcilerOptions {
  readonly manifests: ManifestSource
  /** Absent: there are no pods. Must know all before the start. */
  readonly cluster?: ClusterSource
  readonly compiler: RegoCompiler
  readonly store: GenerationStore
  readonly authority: Authority
  /** Serves a publication; called only when something changed. */
  readonly publish: (publication: Publication) => Promise<void> | void
  readonly clock: Clock
  readonly newUid: () => string
  /** After each pass, whether it went through or failed: how long it took. */
  readonly onPass?: (seconds: number) => void
  readonly log: Log
}

/** What one pass found; status, problems and metrics are made of it. Immutable. */
export interface View {
  readonly proposals: Proposals
  readonly settlement: Settlement
  readonly problems: Settlement['problems']
  /** The objects that are stored and served; those of the settlement once it was applied. */
  readonly inForce: AcceptedState['accepted']
  /** What is served; absent until there is a Mesh and its CertificateAuthority. */
  readonly publication: Publication | undefined
  /** Epoch milliseconds at which `publication` was first served. */
  readonly publishedAtMs: number | undefined
  /** Of what was stored, before the manifests were read. */
  readonly isRestored: boolean
}

export interface ReconcileFigures {
  readonly passes: number
  readonly failures: number
  /** Epoch milliseconds of the last pass that went through; 0: none yet. */
  readonly lastGoodMs: number
}

/**
 * How long a pass waits for Rego before it applies without it, milliseconds: an edit that brings an ALLOW and a DENY
 * shall come into force as one. A compile takes some 100 ms. After that the edit is applied without it, but for what
 * would loosen (core/accept/hold.ts).
 */
const HOLD_MS = 2000

/** How soon it is looked again for keys that another replica is to make, milliseconds. */
const KEYS_WAIT_MS = 500

export class Reconciler {
  readonly name = 'reconciler'
  readonly #options: ReconcilerOptions
  readonly #compile: CompileCache
  readonly #queue: Queue
  readonly #problemLog: ProblemLog
  readonly #listeners = new Set<() => void>()
  #state: AcceptedState = NOTHING_ACCEPTED
  #stored = NOTHING_ACCEPTED
  #wasm: ReadonlyMap<string, Uint8Array> = new Map()
  #view: View | undefined
  /** There is, or was, a stored mesh: its keys are never made anew. */
  #hasMesh = false
  /**
   * What was accepted last is lost: an older generation may grant what was revoked since. Nothing is published, and
   * sidecars keep what they have, until the manifests alone say what is in force.
   */
  #isDoubtful = false
  #pendingSinceMs: number | undefined
  #stopWatching: (() => Promise<void>) | undefined
  #figures = { passes: 0, failures: 0, lastGoodMs: 0 }

  constructor(options: ReconcilerOptions) {
    this.#options = options
    const { compiler, log } = options
    this.#problemLog = new ProblemLog(log)
    this.#queue = new Queue({ run: (signal) => this.#run(signal), log })
    this.#compile = new CompileCache({ compiler, log, onSettled: () => this.#queue.request() })
  }

  /** Publishes the stored generation at once, then watches the manifests and follows them. */
  async start(): Promise<void> {
    await this.#restore()
    this.#stopWatching = await this.#options.manifests.watch(() => this.#queue.request())
    this.#queue.request()
  }

  /** What it is all decided by is another now, beside the manifests. */
  touch(): void {
    if (this.#stopWatching !== undefined) this.#queue.request()
  }

  async stop(): Promise<void> {
    await this.#stopWatching?.()
    await this.#queue.stop()
    await this.#compile.stop()
  }

  view(): View | undefined {
    return this.#view
  }

  figures(): ReconcileFigures {
    return this.#figures
  }

  /** After each pass. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async #restore(): Promise<void> {
    const { store, log } = this.#options
    const loaded = await store.load()
    const remedy = 'nothing is published until the manifests are read without a problem; mend those'
    for (const reason of loaded.faults) {
      log.error({ code: 'ERR_STATE_CORRUPT', reason, remedy }, 'stored generation is damaged')
    }
    this.#isDoubtful = loaded.faults.length > 0
    this.#hasMesh = this.#isDoubtful
    if (loaded.state === undefined) return
    const { state, unknown } = readStoredState(loaded.state)
    if (unknown.length > 0) {
      const fields = { code: 'ERR_STATE_CORRUPT', unknown: unknown.slice(0, 10), remedy }
      log.error(fields, 'a later version stored what this one does not know')
      this.#isDoubtful = true
      this.#hasMesh = true
    }
    this.#take(state, loaded)
    this.#stored = loaded.state
    if (this.#isDoubtful) return
    const accepted = [...state.accepted].map(([key, object]) => ({ key, accepted: object }))
    const proposals = { proposals: accepted, seen: state.seen, problems: [] }
    const settlement = this.#settle(accepted)
    this.#hasMesh ||= settlement.model !== undefined
    log.info({ objects: accepted.length }, 'stored generation restored')
    // What is wrong is said by the first pass, with its places in the files.
    await this.#serve(proposals, { ...settlement, problems: [] }, true).catch((err: unknown) => {
      // What may come to be there is asked for again by each pass.
      if (!(err instanceof MeshError) || err.retry === 'never') throw err
      log.error({ err, code: err.code }, 'the stored generation is not served yet')
    })
  }

  #take(state: AcceptedState, { wasm }: Pick<LoadedGeneration, 'wasm'>): void {
    this.#state = state
    this.#wasm = new Map([...this.#wasm, ...wasm])
    for (const { artifact } of state.accepted.values()) {
      const bytes = artifact && wasm.get(artifact.wasmDigest)
      if (artifact === undefined || bytes === undefined) continue
      if (this.#compile.stateOf({ digest: artifact.unitDigest }).kind !== 'ready')
        this.#compile.seed(artifact.unitDigest, artifact, bytes)
    }
  }

  /**
   * Of several replicas one stores, and what it stored is the last good of all: of an object whose newest version is bad,
   * each may have seen another good one. What the manifests say now is then judged on top of it.
   */
  async #takeOver(): Promise<void> {
    const { store, log } = this.#options
    const loaded = await store.newer?.()
    if (loaded === undefined) return
    const { state, unknown = [] } = loaded.state === undefined ? {} : readStoredState(loaded.state)
    const { faults } = loaded
    if (state === undefined || faults.length + unknown.length > 0) {
      const fields = { code: 'ERR_STATE_CORRUPT', faults, unknown: unknown.slice(0, 10) }
      log.error(fields, 'what another replica stored is not taken over; the last good stays')
      return
    }
    this.#take(state, loaded)
    this.#stored = loaded.state ?? state
    this.#isDoubtful = false
    const accepted = [...state.accepted].map(([key, object]) => ({ key, accepted: object }))
    this.#hasMesh ||= this.#settle(accepted).model !== undefined
    log.info({ objects: accepted.length }, 'taken over what another replica stored')
  }

  async #run(signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { clock } = this.#options
    const startMs = clock.monotonic()
    this.#figures = { ...this.#figures, passes: this.#figures.passes + 1 }
    try {
      const result = await this.#pass(signal)
      this.#figures = { ...this.#figures, lastGoodMs: clock.now() }
      return result
    } catch (error) {
      this.#figures = { ...this.#figures, failures: this.#figures.failures + 1 }
      throw error
    } finally {
      this.#options.onPass?.((clock.monotonic() - startMs) / 1000)
    }
  }

  async #pass(signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    await this.#takeOver()
    const files = await this.#gather(signal)
    const { manifests, newUid, clock } = this.#options
    const { isExact = false } = manifests
    const reading = readManifests(files, this.#state, isExact)
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const proposals = propose(reading, this.#state, { now, newUid, isExact })
    const settlement = this.#settle(proposals.proposals)
    this.#compile.want(settlement.units)
    const holdMs = this.#holdFor(settlement)
    if (holdMs > 0) {
      this.#show({ proposals, settlement, isRestored: false }, this.#view?.publication)
      return { requeueAfterMs: holdMs }
    }
    if (this.#isDoubtful && !this.#isWhole(proposals, settlement)) {
      this.#show({ proposals, settlement, isRestored: false }, undefined)
      return {}
    }
    this.#isDoubtful = false
    const areThere = await this.#makeKeys(settlement).catch((error: unknown) => {
      this.#show({ proposals, settlement, isRestored: false }, undefined)
      throw error
    })
    if (!areThere) {
      this.#show({ proposals, settlement, isRestored: false }, undefined)
      return { requeueAfterMs: KEYS_WAIT_MS }
    }
    await this.#keep(proposals, settlement)
    await this.#serve(proposals, settlement)
    return {}
  }

  #settle(proposals: Parameters<typeof settle>[0]): Settlement {
    const cluster = this.#options.cluster?.cluster()
    return settle(proposals, (unit) => this.#compile.stateOf(unit), cluster)
  }

  /** A folder that can't be read is one place that can't be read: everything below stays as it was. */
  async #gather(signal: AbortSignal): Promise<readonly ManifestFile[]> {
    try {
      return await this.#options.manifests.read(signal)
    } catch (error) {
      signal.throwIfAborted()
      return [{ path: '', unreadable: error instanceof Error ? error.message : String(error) }]
    }
  }

  /** Whether all that would be in force is what the manifests say now. */
  #isWhole({ problems }: Proposals, settlement: Settlement): boolean {
    return problems.length + settlement.problems.length + settlement.pending.size === 0
  }

  /** Milliseconds that this pass must still wait for Rego; 0: none. */
  #holdFor(settlement: Settlement): number {
    if (settlement.pending.size === 0) {
      this.#pendingSinceMs = undefined
      return 0
    }
    const nowMs = this.#options.clock.monotonic()
    this.#pendingSinceMs ??= nowMs
    return Math.max(0, this.#pendingSinceMs + HOLD_MS - nowMs)
  }

  /** Before the first generation that needs them is stored. False: they are about to be made elsewhere. */
  async #makeKeys({ model }: Settlement): Promise<boolean> {
    if (!this.#hasMesh && model !== undefined)
      this.#hasMesh = await this.#options.authority.create(model)
    return this.#hasMesh || model === undefined
  }

  /** Stores what is accepted now, if it differs from what is stored and is this replica's to store. */
  async #keep({ seen }: Proposals, { accepted }: Settlement): Promise<void> {
    const next: AcceptedState = { accepted, seen }
    const wasm = this.#modulesOf(next)
    if (!isSameState(next, this.#stored) && (await this.#options.store.save(next, wasm)))
      this.#stored = next
    this.#state = next
    this.#wasm = wasm
  }

  /** The bytes of all modules that the state names: compiled now, or kept from before. */
  #modulesOf(state: AcceptedState): ReadonlyMap<string, Uint8Array> {
    const compiled = this.#compile.wasm()
    return new Map(
      wasmDigests(state).flatMap((digest) => {
        const bytes = compiled.get(digest) ?? this.#wasm.get(digest)
        return bytes === undefined ? [] : [[digest, bytes] as const]
      }),
    )
  }

  async #serve(proposals: Proposals, settlement: Settlement, isRestored = false): Promise<void> {
    const { authority, publish, log } = this.#options
    const { model } = settlement
    if (model === undefined) {
      this.#show({ proposals, settlement, isRestored }, this.#view?.publication)
      return
    }
    const trustBundle = await authority.ensure(model).catch((error: unknown) => {
      this.#show({ proposals, settlement, isRestored }, this.#view?.publication)
      throw error
    })
    const next = buildPublication(model, { trustBundle, wasm: this.#wasm })
    const before = this.#view?.publication
    if (before?.generation !== next.generation) {
      await publish(next)
      log.info({ generation: next.generation, workloads: next.snapshots.size }, 'published')
    }
    this.#show({ proposals, settlement, isRestored }, next)
  }

  #show(
    found: Pick<View, 'proposals' | 'settlement' | 'isRestored'>,
    publication: Publication | undefined,
  ): void {
    const { proposals, settlement } = found
    const problems = [...proposals.problems, ...settlement.problems]
    const isSame = publication?.generation === this.#view?.publication?.generation
    const publishedAtMs =
      publication === undefined || isSame ? this.#view?.publishedAtMs : this.#options.clock.now()
    this.#view = {
      ...found,
      problems,
      inForce: this.#state.accepted,
      publication,
      publishedAtMs,
    }
    this.#problemLog.update(problems)
    for (const listener of this.#listeners) listener()
  }
}
