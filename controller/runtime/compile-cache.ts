/**
 * Compiles Rego units in the background, each once. In: the units that candidates need now. Out: what is known of
 * each, and the modules' bytes. A failure of the world (no opa, no disk) is tried again; a failure of the policy is not.
 */
import { MeshError } from '../../common/errors.ts'
import type { Artifact } from '../core/accept/objects.ts'
import type { CompileState } from '../core/accept/settle.ts'
import type { CompileResult, Log, RegoCompiler, RegoUnit } from './ports.ts'

export interface CompileCacheOptions {
  readonly compiler: RegoCompiler
  /** Called when a unit became ready or failed. */
  readonly onSettled: () => void
  readonly log: Log
  /** Pause before a failure of the world is tried again, milliseconds. Default 2000. */
  readonly retryMs?: number
}

const RETRY_MS = 2000
/** Results that nobody needs now, kept for an edit that is taken back. */
const MAX_IDLE = 64

interface Entry {
  state: CompileState
  abort?: AbortController
  retry?: NodeJS.Timeout
}

export class CompileCache {
  readonly #options: CompileCacheOptions
  /** By unit digest; the oldest first. */
  readonly #entries = new Map<string, Entry>()
  readonly #wasm = new Map<string, Uint8Array>()
  readonly #running = new Set<Promise<void>>()
  #isStopped = false

  constructor(options: CompileCacheOptions) {
    this.#options = options
  }

  stateOf(unit: Pick<RegoUnit, 'digest'>): CompileState {
    return this.#entries.get(unit.digest)?.state ?? { kind: 'pending' }
  }

  /** The modules of all units that are ready, by digest. */
  wasm(): ReadonlyMap<string, Uint8Array> {
    return this.#wasm
  }

  /** What an earlier process compiled. */
  seed(
    unitDigest: string,
    ready: Pick<Artifact, 'wasmDigest' | 'readsBody' | 'rules'>,
    wasm: Uint8Array,
  ): void {
    const { wasmDigest, readsBody, rules = [] } = ready
    this.#entries.set(unitDigest, { state: { kind: 'ready', wasmDigest, readsBody, rules } })
    this.#wasm.set(wasmDigest, wasm)
  }

  /** Starts what is not known yet, ends what nobody needs any more, forgets the oldest results beyond a bound. */
  want(units: readonly RegoUnit[]): void {
    if (this.#isStopped) return
    const wanted = new Set(units.map((u) => u.digest))
    const idle = [...this.#entries].filter(([digest]) => !wanted.has(digest))
    for (const [digest, entry] of idle) {
      if (entry.state.kind === 'pending') this.#forget(digest, entry)
    }
    const spare = idle.filter(([, entry]) => entry.state.kind !== 'pending')
    for (const [digest, entry] of spare.slice(0, Math.max(0, spare.length - MAX_IDLE))) {
      this.#forget(digest, entry)
    }
    for (const unit of units) {
      if (!this.#entries.has(unit.digest)) this.#start(unit)
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const [digest, entry] of this.#entries) this.#forget(digest, entry)
    await Promise.all(this.#running)
  }

  #start(unit: RegoUnit): void {
    const abort = new AbortController()
    const entry: Entry = { state: { kind: 'pending' }, abort }
    this.#entries.set(unit.digest, entry)
    const run = this.#compile(unit, entry, abort.signal)
    this.#running.add(run)
    void run.finally(() => this.#running.delete(run))
  }

  async #compile(unit: RegoUnit, entry: Entry, signal: AbortSignal): Promise<void> {
    try {
      const result = await this.#options.compiler.compile(unit, signal)
      if (signal.aborted) return
      entry.state = this.#settle(result)
      this.#options.onSettled()
    } catch (err) {
      if (signal.aborted) return
      const code = err instanceof MeshError ? err.code : 'ERR_INTERNAL'
      const retryAfterMs = this.#options.retryMs ?? RETRY_MS
      this.#options.log.error({ err, code, retryAfterMs }, 'rego was not compiled')
      entry.retry = setTimeout(() => {
        if (this.#entries.get(unit.digest) === entry) this.#start(unit)
      }, retryAfterMs)
    }
  }

  #settle(result: CompileResult): CompileState {
    if (!result.ok) return { kind: 'failed', problems: result.problems }
    const { wasm, wasmDigest, readsBody, rules } = result
    this.#wasm.set(wasmDigest, wasm)
    return { kind: 'ready', wasmDigest, readsBody, rules }
  }

  #forget(digest: string, entry: Entry): void {
    entry.abort?.abort(new Error('no longer needed'))
    clearTimeout(entry.retry)
    this.#entries.delete(digest)
    const { state } = entry
    if (state.kind !== 'ready') return
    const isShared = [...this.#entries.values()].some(
      (e) => e.state.kind === 'ready' && e.state.wasmDigest === state.wasmDigest,
    )
    if (!isShared) this.#wasm.delete(state.wasmDigest)
  }
}
