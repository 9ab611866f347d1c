/**
 * Keeps one Envoy running: starts it, restarts it, looks after changes whether it has settled, drains it at the end.
 * One whose main thread hangs is killed: its workers would go on with old rules and old certificates.
 * In: a launcher and the admin interface. Out: EnvoyState, and a word to the xDS proxy when Envoy keeps dying.
 * While Envoy is not there, no listener is there: nothing passes.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { planRestart, QUICK_MS } from '../core/envoy/restart.ts'
import { judgeSilence, NOT_SILENT, type Silence } from '../core/envoy/silence.ts'
import type { EnvoyFacts } from '../core/envoy/stats.ts'
import type { EnvoyState } from '../ports.ts'
import type { Log } from './xds-ports.ts'

export interface EnvoyExit {
  /** Exit code or signal, and Envoy's last complaints. */
  readonly reason: string
}

export interface RunningEnvoy {
  readonly pid: number
  /** Never rejects. */
  readonly exited: Promise<EnvoyExit>
  /** SIGTERM, then SIGKILL after 2 s. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): void
}

export interface EnvoyLauncher {
  launch(): RunningEnvoy
}

export interface EnvoyAdmin {
  /** Undefined: no answer. */
  isLive(): Promise<boolean | undefined>
  facts(): Promise<EnvoyFacts | undefined>
  version(): Promise<string>
  drain(): Promise<void>
}

export interface EnvoySupervisorOptions {
  readonly launcher: EnvoyLauncher
  readonly admin: EnvoyAdmin
  /** An Envoy process is about to start; not told in a crash loop. */
  readonly onStart: () => void
  /** It died quickly again and again. */
  readonly onCrashLoop: (reason: string) => void
  readonly log: Log
}

export interface SupervisorState extends EnvoyState {
  readonly workersStarted: boolean
  readonly restarts: number
  /** Records of decisions that Envoys dropped, for their buffer was full. */
  readonly recordsDropped: number
  /** Envoys that ended with records that nobody could count. */
  readonly logGaps: number
  /** Why it is not running; empty when it is. */
  readonly reason: string
  /** It died quickly again and again, and why; empty: it did not, or the one that runs has lived long enough. */
  readonly trouble: string
  /** It is being stopped: nothing new is taken. */
  readonly isStopping: boolean
}

const DOWN: EnvoyState & { workersStarted: boolean } = {
  running: false,
  live: false,
  version: '',
  warming: 0,
  draining: 0,
  workersStarted: false,
}

const NO_LOSS = { recordsDropped: 0, logGaps: 0 }

/** While something is unsettled, and when nothing is. */
const POLL_MS = 100
const HEARTBEAT_MS = 5_000
const DRAIN_POLL_MS = 100
/** Without a request in flight for so long, nothing is to be waited for: clients may keep idle connections for ever. */
const DRAIN_IDLE_MS = 300

export class EnvoySupervisor {
  readonly name = 'envoy-supervisor'
  readonly #options: EnvoySupervisorOptions
  readonly #listeners = new Set<() => void>()
  readonly #lifetimesMs: number[] = []
  readonly #stopping = new AbortController()
  #envoy: RunningEnvoy | undefined
  #running: Promise<void> | undefined
  #watching: Promise<void> | undefined
  #state: SupervisorState = {
    ...{ ...DOWN, ...NO_LOSS, restarts: 0 },
    ...{ reason: 'not started', trouble: '', isStopping: false },
  }
  #startedMs = 0
  #wake: () => void = () => {}
  /** Something changed since the last look: what was read before is out of date. */
  #isStale = true
  #silence: Silence = NOT_SILENT
  #isDraining = false
  /** Of the Envoy that runs now; its own count starts anew with it. */
  #droppedByThis = 0
  #hasServed = false

  constructor(options: EnvoySupervisorOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#running ??= this.#run()
    this.#watching ??= this.#watch()
  }

  state(): SupervisorState {
    // What is known stems from before the change; until Envoy was asked again it counts as unsettled.
    const warming = this.#isStale ? Math.max(1, this.#state.warming) : this.#state.warming
    return { ...this.#state, warming, isStopping: this.#isDraining }
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Envoy was sent something: look until it has settled. */
  poke(): void {
    this.#isStale = true
    this.#wake()
  }

  /**
   * Takes nothing new, asks clients to leave, waits for what is under way to end, at most `graceMs` and not when `hurry`
   * fires, and ends Envoy.
   */
  async stop(graceMs: number, hurry: AbortSignal = new AbortController().signal): Promise<void> {
    this.#isDraining = true
    this.#set({ ...this.#state })
    const isWaiting = this.#state.live && graceMs > 0 && !hurry.aborted
    if (isWaiting) await this.#drain(AbortSignal.any([hurry, AbortSignal.timeout(graceMs)]))
    this.#stopping.abort()
    this.#wake()
    if (this.#state.live) this.#countDropped(await this.#options.admin.facts())
    await this.#envoy?.stop()
    await Promise.all([this.#running, this.#watching])
  }

  async #drain(end: AbortSignal): Promise<void> {
    const { admin, log } = this.#options
    log.info({}, 'draining')
    await admin.drain()
    let busyMs = performance.now()
    while (!end.aborted && this.#envoy !== undefined) {
      const facts = await admin.facts()
      if (facts === undefined || facts.connections === 0) return
      const nowMs = performance.now()
      if (facts.busy > 0) busyMs = nowMs
      else if (nowMs - busyMs >= DRAIN_IDLE_MS) return
      await delay(DRAIN_POLL_MS, undefined, { signal: end }).catch(() => {})
    }
  }

  async #run(): Promise<void> {
    const { launcher, onStart, onCrashLoop, log } = this.#options
    const { signal } = this.#stopping
    let isCrashLoop = false
    while (!signal.aborted) {
      if (!isCrashLoop) onStart()
      this.#startedMs = performance.now()
      const envoy = launcher.launch()
      this.#envoy = envoy
      this.#silence = NOT_SILENT
      this.#droppedByThis = 0
      this.#hasServed = false
      log.info({ pid: envoy.pid }, 'envoy started')
      this.#set({ ...this.#state, running: true, reason: '' })
      this.poke()
      const { reason } = await envoy.exited
      this.#envoy = undefined
      if (signal.aborted) {
        this.#set({ ...this.#state, ...DOWN, reason })
        break
      }
      this.#noteEnd(reason)
      this.#lifetimesMs.push(performance.now() - this.#startedMs)
      const plan = planRestart(this.#lifetimesMs)
      isCrashLoop = plan.isCrashLoop
      const fields = { code: 'ERR_ENVOY_EXITED', reason, delayMs: plan.delayMs }
      log.error(fields, 'envoy exited; it is started again')
      if (isCrashLoop) {
        onCrashLoop(reason)
        this.#set({ ...this.#state, trouble: reason })
      }
      await delay(plan.delayMs, undefined, { signal }).catch(() => {})
    }
  }

  /** Not by our will: what it had not sent yet is gone with it, and nobody knows how much that was. */
  #noteEnd(reason: string): void {
    const { restarts, logGaps } = this.#state
    this.#set({
      ...{ ...this.#state, ...DOWN, reason },
      restarts: restarts + 1,
      // One that never served decided nothing.
      logGaps: logGaps + Number(this.#hasServed),
    })
    if (!this.#hasServed) return
    const fields = { code: 'ERR_ENVOY_EXITED', logGaps: logGaps + 1 }
    this.#options.log.error(fields, 'decisions of up to 200 ms before Envoy’s end are unknown')
  }

  /** Envoy answers with its total; the increase is what is new. */
  #countDropped(facts: EnvoyFacts | undefined): void {
    const increase = (facts?.recordsDropped ?? 0) - this.#droppedByThis
    if (increase <= 0) return
    this.#droppedByThis += increase
    const recordsDropped = this.#state.recordsDropped + increase
    this.#set({ ...this.#state, recordsDropped })
    this.#options.log.error({ increase, recordsDropped }, 'envoy dropped records of decisions')
  }

  async #watch(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#look()
      const { live, warming, draining, workersStarted } = this.#state
      const isSettled = live && workersStarted && warming === 0 && draining === 0
      await this.#pause(isSettled && !this.#isStale ? HEARTBEAT_MS : POLL_MS)
    }
  }

  async #look(): Promise<void> {
    const envoy = this.#envoy
    if (envoy === undefined) return
    const { admin } = this.#options
    this.#isStale = false
    const live = await admin.isLive()
    const facts = await admin.facts()
    const version = this.#state.version || (live ? await admin.version() : '')
    // It may have died, and another started, while we asked.
    if (this.#envoy !== envoy) return
    this.#judgeSilence(envoy, live !== undefined)
    this.#countDropped(facts)
    this.#hasServed ||= live === true
    if (live === undefined || facts === undefined) {
      this.#isStale = true
      return this.#set({ ...this.#state, live: false })
    }
    const { warming, draining, workersStarted } = facts
    const hasRecovered = performance.now() - this.#startedMs >= QUICK_MS
    const trouble = hasRecovered ? '' : this.#state.trouble
    this.#set({ ...this.#state, trouble, live, version, warming, draining, workersStarted })
  }

  #judgeSilence(envoy: RunningEnvoy, hasAnswered: boolean): void {
    const { silence, isHung } = judgeSilence(this.#silence, hasAnswered, performance.now())
    this.#silence = silence
    if (!isHung || this.#isDraining) return
    this.#silence = NOT_SILENT
    this.#options.log.error({ pid: envoy.pid }, 'envoy does not answer; it is killed')
    envoy.kill()
  }

  #set(state: SupervisorState): void {
    this.#state = state
    for (const listener of this.#listeners) listener()
  }

  #pause(ms: number): Promise<void> {
    if (this.#stopping.signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        this.#wake = () => {}
        resolve()
      }
      const timer = setTimeout(end, ms)
      this.#wake = end
    })
  }
}
