/**
 * Keeps one Envoy running: starts it, restarts it, looks after changes whether it has settled, drains it at the end.
 * In: a launcher and the admin interface. Out: EnvoyState, and a word to the xDS proxy when Envoy keeps dying.
 * While Envoy is not there, no listener is there: nothing passes.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { planRestart } from '../core/envoy/restart.ts'
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
}

export interface EnvoyLauncher {
  launch(): RunningEnvoy
}

export interface EnvoyAdmin {
  isLive(): Promise<boolean>
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
  /** Why it is not running; empty when it is. */
  readonly reason: string
}

const DOWN: EnvoyState & { workersStarted: boolean } = {
  running: false,
  live: false,
  version: '',
  warming: 0,
  draining: 0,
  workersStarted: false,
}

/** While something is unsettled, and when nothing is. */
const POLL_MS = 100
const HEARTBEAT_MS = 5_000
const DRAIN_POLL_MS = 100

export class EnvoySupervisor {
  readonly name = 'envoy-supervisor'
  readonly #options: EnvoySupervisorOptions
  readonly #listeners = new Set<() => void>()
  readonly #lifetimesMs: number[] = []
  readonly #stopping = new AbortController()
  #envoy: RunningEnvoy | undefined
  #running: Promise<void> | undefined
  #watching: Promise<void> | undefined
  #state: SupervisorState = { ...DOWN, restarts: 0, reason: 'not started' }
  #wake: () => void = () => {}
  /** Something changed since the last look: what was read before is out of date. */
  #isStale = true

  constructor(options: EnvoySupervisorOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#running ??= this.#run()
    this.#watching ??= this.#watch()
  }

  state(): SupervisorState {
    // What is known stems from before the change; until Envoy was asked again it counts as unsettled.
    return this.#isStale && this.#state.warming === 0 ? { ...this.#state, warming: 1 } : this.#state
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

  /** Asks clients to leave, waits for connections to end, at most `graceMs`, and ends Envoy. */
  async stop(graceMs: number): Promise<void> {
    const { admin, log } = this.#options
    const deadline = performance.now() + graceMs
    if (this.#state.live && graceMs > 0) {
      log.info({ graceMs }, 'draining')
      await admin.drain()
      while (performance.now() < deadline && this.#envoy !== undefined) {
        const facts = await admin.facts()
        if (facts === undefined || facts.connections === 0) break
        await delay(DRAIN_POLL_MS)
      }
    }
    this.#stopping.abort()
    this.#wake()
    await this.#envoy?.stop()
    await Promise.all([this.#running, this.#watching])
  }

  async #run(): Promise<void> {
    const { launcher, onStart, onCrashLoop, log } = this.#options
    const { signal } = this.#stopping
    let isCrashLoop = false
    while (!signal.aborted) {
      if (!isCrashLoop) onStart()
      const startedMs = performance.now()
      const envoy = launcher.launch()
      this.#envoy = envoy
      log.info({ pid: envoy.pid }, 'envoy started')
      this.#set({ ...this.#state, running: true, reason: '' })
      this.poke()
      const { reason } = await envoy.exited
      this.#envoy = undefined
      this.#set({ ...DOWN, restarts: this.#state.restarts + (signal.aborted ? 0 : 1), reason })
      if (signal.aborted) break
      this.#lifetimesMs.push(performance.now() - startedMs)
      const plan = planRestart(this.#lifetimesMs)
      isCrashLoop = plan.isCrashLoop
      const fields = { code: 'ERR_ENVOY_EXITED', reason, delayMs: plan.delayMs }
      log.error(fields, 'envoy exited; it is started again')
      if (isCrashLoop) onCrashLoop(reason)
      await delay(plan.delayMs, undefined, { signal }).catch(() => {})
    }
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
    if (facts === undefined) {
      this.#isStale = true
      return this.#set({ ...this.#state, live: false })
    }
    const { warming, draining, workersStarted } = facts
    this.#set({ ...this.#state, live, version, warming, draining, workersStarted })
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
