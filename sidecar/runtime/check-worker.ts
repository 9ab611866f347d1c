/**
 * The check worker's supervisor: gives it bundles, watches it, replaces it.
 *
 *   spawn ──start──▶ answering ──hangs──▶ terminate ─▶ the standby starts with the same bundle, in some 20 ms
 *                        ├─────ends─────▶ the same, after a pause that grows
 *                        └─loses its socket (it was removed or replaced) ─▶ the same, and a new socket
 *
 * The killed request is recorded as ERR_POLICY_TIMEOUT and its policy set aside for its caller for a while. A standby thread is kept
 * loaded only while the set has Rego: nothing else can hang. Never serves a bundle that it has not verified.
 */
import { unpackBundle } from '../../common/bundle.ts'
import { MeshError } from '../../common/errors.ts'
import type { PolicySet } from '../../common/policy-set.ts'
import {
  type DecisionFacts,
  type LogLabels,
  toDecisionRecord,
} from '../core/decision-log/record.ts'
import { type Breaker, sourceOf, strike } from '../core/policy/breaker.ts'
import { begin, causeOf, end, type Outage } from '../core/policy/outage.ts'
import { LOOK_EVERY_MS, look, NOT_WATCHING } from '../core/policy/watchdog.ts'
import type { DecisionSpan } from '../core/trace/decision-span.ts'
import type { CheckWorker } from '../ports.ts'
import type {
  CheckThread,
  DecisionLog,
  FromWorker,
  LastRequest,
  ToWorker,
  WorkerBundle,
} from './check-ports.ts'
import { type DecisionTally, TallySheet } from './decision-tally.ts'
import type { Log } from './xds-ports.ts'

export interface CheckWorkerOptions {
  /** Starts a thread that loads and waits. */
  readonly spawn: () => CheckThread
  readonly compile: (wasm: Uint8Array) => Promise<WebAssembly.Module>
  /** Where the requests of a worker that was ended are recorded. */
  readonly decisionLog: DecisionLog
  readonly labels: LogLabels
  readonly tally: DecisionTally
  readonly onSpans?: (spans: readonly DecisionSpan[]) => void
  /** A worker has ended, whatever for. */
  readonly onEnd?: () => void
  /** The workers' socket. */
  readonly socket: { mark(): void; isSame(): boolean }
  readonly log: Log
}

export interface SupervisedCheckWorker extends CheckWorker {
  /** The set that answers now. */
  activeSet(): PolicySet | undefined
  /** Whether the request was recorded here, since its worker was ended: Envoy will report it too. */
  wasRecorded(decisionId: string): boolean
  /** The policy whose Rego held the worker up when a call began (epoch nanoseconds) that Envoy had no answer to. */
  whyNoAnswer(startNs: bigint): string | undefined
  /** Opens the decision log's file again, after a rotation. */
  reopenLog(): void
  /** How many workers were started in the place of another. */
  replaced(): number
  stop(graceMs: number): Promise<void>
}

/** A big policy set is instantiated in parts; longer than this it hangs. */
const ACTIVATE_TIMEOUT_MS = 30_000
/** Ids of requests whose worker was ended: far more than Envoy could report late. */
const MAX_RECORDED = 1000
const MAX_RESTART_PAUSE_MS = 5_000
const FIRST_RESTART_PAUSE_MS = 50
const SOCKET_LOOK_MS = 1_000

/** Resolves when the socket answers (with ERR_NO_BUNDLE at first). Rejects when it can't be had. */
export async function startCheckWorker(
  options: CheckWorkerOptions,
): Promise<SupervisedCheckWorker> {
  const supervisor = new CheckSupervisor(options)
  await supervisor.start()
  return supervisor
}

class CheckSupervisor implements SupervisedCheckWorker {
  readonly #options: CheckWorkerOptions
  readonly #listeners = new Set<() => void>()
  readonly #pending = new Map<number, PromiseWithResolvers<void>>()
  readonly #breakers = new Map<string, Breaker>()
  readonly #recorded = new Set<string>()
  #outages: readonly Outage[] = []
  #thread: CheckThread | undefined
  #standby: CheckThread | undefined
  #active: WorkerBundle | undefined
  #activations: Promise<unknown> = Promise.resolve()
  #watch = NOT_WATCHING
  #timer: NodeJS.Timeout | undefined
  #socketTimer: NodeJS.Timeout | undefined
  #isStopped = false
  #failures = 0
  #replaced = 0
  #nextId = 1

  constructor(options: CheckWorkerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    await this.#startThread(this.#options.spawn())
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
    this.#socketTimer = setInterval(() => void this.#lookAtSocket(), SOCKET_LOOK_MS).unref()
  }

  activeRevision(): string | undefined {
    return this.#active?.revision
  }

  isAnswering(): boolean {
    return this.#thread !== undefined
  }

  activeSet(): PolicySet | undefined {
    return this.#active?.set
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  wasRecorded(decisionId: string): boolean {
    return this.#recorded.has(decisionId)
  }

  replaced(): number {
    return this.#replaced
  }

  whyNoAnswer(startNs: bigint): string | undefined {
    return causeOf(this.#outages, startNs)
  }

  reopenLog(): void {
    this.#thread?.post({ kind: 'reopen-log' })
  }

  activate(bundle: { readonly revision: string; readonly archive: Uint8Array }): Promise<void> {
    const done = this.#activations.then(() => this.#activate(bundle))
    this.#activations = done.catch(() => undefined)
    return done
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopped = true
    clearInterval(this.#timer)
    clearInterval(this.#socketTimer)
    const thread = this.#thread
    void this.#standby?.terminate()
    if (thread === undefined) return
    const ended = new Promise<void>((resolve) => thread.onEnd(() => resolve()))
    thread.post({ kind: 'stop', graceMs })
    const cut = setTimeout(() => void thread.terminate(), graceMs + 1000)
    await ended
    clearTimeout(cut)
  }

  async #activate(bundle: { readonly revision: string; readonly archive: Uint8Array }) {
    const { revision, set, wasm } = await unpackBundle(bundle.archive)
    if (revision !== bundle.revision)
      throw new MeshError('ERR_BUNDLE_INVALID', `revision is ${revision}, not ${bundle.revision}`)
    const modules = new Map<string, WebAssembly.Module>()
    for (const [digest, bytes] of wasm)
      modules.set(digest, this.#active?.modules.get(digest) ?? (await this.#compile(bytes)))
    const sheet = new TallySheet(set)
    const next: WorkerBundle = { revision, set, modules, tally: sheet.memory }
    await this.#activateInThread(next)
    this.#options.tally.turnTo(sheet)
    this.#active = next
    this.#breakers.clear()
    this.#prepareStandby()
    this.#tell()
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  async #compile(wasm: Uint8Array): Promise<WebAssembly.Module> {
    try {
      return await this.#options.compile(wasm)
    } catch (cause) {
      throw new MeshError('ERR_BUNDLE_INVALID', 'a wasm module does not compile', { cause })
    }
  }

  async #activateInThread(bundle: WorkerBundle): Promise<void> {
    const thread = this.#thread
    if (thread === undefined)
      throw new MeshError('ERR_INTERNAL', 'check worker is restarting', { retry: 'backoff' })
    const id = this.#nextId++
    const answer = Promise.withResolvers<void>()
    this.#pending.set(id, answer)
    const timer = setTimeout(() => void thread.terminate(), ACTIVATE_TIMEOUT_MS)
    try {
      thread.post({ kind: 'activate', id, bundle })
      await answer.promise
    } finally {
      clearTimeout(timer)
      this.#pending.delete(id)
    }
  }

  /** Takes a thread into service. Rejects when it can't start. */
  async #startThread(thread: CheckThread): Promise<void> {
    const ready = Promise.withResolvers<void>()
    thread.onMessage((message) => this.#hear(message, ready))
    thread.onEnd((error) => {
      ready.reject(new MeshError('ERR_INTERNAL', 'check worker ended', { cause: error }))
      this.#options.onEnd?.()
      this.#onEnd(thread, error)
    })
    const start: ToWorker = { kind: 'start', bundle: this.#active, breakers: this.#breakers }
    thread.post(start)
    const timer = setTimeout(() => void thread.terminate(), ACTIVATE_TIMEOUT_MS)
    try {
      await ready.promise
    } catch (error) {
      await thread.terminate()
      throw error
    } finally {
      clearTimeout(timer)
    }
    this.#outages = end(this.#outages, epochNs())
    this.#options.socket.mark()
    this.#watch = NOT_WATCHING
    this.#thread = thread
    this.#tell()
  }

  #prepareStandby(): void {
    const hasRego = (this.#active?.modules.size ?? 0) > 0
    if (!hasRego || this.#isStopped || this.#standby !== undefined) return
    const standby = this.#options.spawn()
    standby.onEnd(() => {
      if (this.#standby === standby) this.#standby = undefined
    })
    this.#standby = standby
  }

  #hear(message: FromWorker, ready: PromiseWithResolvers<void>): void {
    if (message.kind === 'ready') ready.resolve()
    else if (message.kind === 'failed') ready.reject(new MeshError('ERR_CONFIG', message.message))
    else if (message.kind === 'activated') this.#pending.get(message.id)?.resolve()
    else if (message.kind === 'spans') this.#options.onSpans?.(message.spans)
    else if (message.kind === 'log-fault') this.#sayLogFault(message.message)
    else {
      const error = new MeshError('ERR_BUNDLE_INVALID', message.message)
      this.#pending.get(message.id)?.reject(error)
    }
  }

  #sayLogFault(reason: string): void {
    const fields = { code: 'ERR_DECISION_LOG', reason }
    this.#options.log.error(
      fields,
      'decision log not opened by the check worker; tried again each second',
    )
  }

  #look(): void {
    const thread = this.#thread
    if (thread === undefined) return
    const { watch, isHanging } = look(this.#watch, thread.beat(), process.hrtime.bigint())
    this.#watch = watch
    if (!isHanging) return
    this.#thread = undefined
    void this.#end(thread)
  }

  /** Envoy, or the next Envoy, could not reach the worker. */
  async #lookAtSocket(): Promise<void> {
    const thread = this.#thread
    if (thread === undefined || this.#options.socket.isSame()) return
    this.#thread = undefined
    this.#tell()
    const code = 'ERR_INTERNAL'
    this.#options.log.error({ code }, 'socket of the check worker is gone; worker replaced')
    await thread.terminate()
    await this.#replace()
  }

  async #end(thread: CheckThread): Promise<void> {
    await thread.terminate()
    const last = thread.last()
    const policy = last?.policy
    if (last !== undefined && policy !== undefined) this.#strike(last, policy)
    this.#options.log.error({ policy }, 'policy took too long; check worker replaced')
    if (last !== undefined) this.#record(last)
    this.#failures = 0
    await this.#replace()
  }

  #strike({ request }: LastRequest, policy: string): void {
    const nowMs = Number(process.hrtime.bigint() / 1_000_000n)
    const breaker = strike(this.#breakers.get(policy), sourceOf(request), nowMs)
    this.#breakers.set(policy, breaker)
    this.#outages = begin(this.#outages, policy, epochNs())
  }

  #record(last: LastRequest): void {
    const policy = last.policy ?? ''
    const error = { code: 'ERR_POLICY_TIMEOUT', message: `policy ${policy} took too long` }
    const facts: DecisionFacts = {
      request: last.request,
      lane: 'wasm',
      timeNs: BigInt(Date.now()) * 1_000_000n,
      ...(this.#active === undefined ? {} : { revision: this.#active.revision }),
      verdict: {
        ...{ allowed: false, policy, reason: error.code, error, httpStatus: 503 },
        ...{ shadow: [], failedOpen: [], result: null },
      },
      metrics: {},
    }
    this.#options.tally.count(facts)
    const written = this.#options.decisionLog.append(toDecisionRecord(this.#options.labels, facts))
    if (this.#recorded.size >= MAX_RECORDED) this.#recorded.clear()
    // else Envoy's own report of the request is recorded
    if (written) this.#recorded.add(last.request.decisionId)
  }

  /** A thread ended by itself: crash, out of memory, or an activation that took too long. */
  #onEnd(thread: CheckThread, error: Error | undefined): void {
    for (const answer of this.#pending.values())
      answer.reject(new MeshError('ERR_BUNDLE_INVALID', 'check worker ended while activating'))
    if (this.#thread !== thread || this.#isStopped) return
    this.#thread = undefined
    this.#options.log.error({ err: error }, 'check worker ended; starting another')
    void this.#replace()
  }

  async #replace(): Promise<void> {
    while (!this.#isStopped) {
      const thread = this.#standby ?? this.#options.spawn()
      this.#standby = undefined
      try {
        await this.#startThread(thread)
        this.#failures = 0
        this.#replaced += 1
        this.#prepareStandby()
        return
      } catch (err) {
        this.#failures += 1
        this.#options.log.error({ err, failures: this.#failures }, 'check worker does not start')
        const pauseMs = FIRST_RESTART_PAUSE_MS * 2 ** (this.#failures - 1)
        await new Promise((resolve) =>
          setTimeout(resolve, Math.min(pauseMs, MAX_RESTART_PAUSE_MS)).unref(),
        )
      }
    }
  }
}

function epochNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}
