/**
 * Between the controller's stream and Envoy's: what came from above is served below, what Envoy says of it goes up.
 * In: events of both streams, the SVID, Envoy's deaths. Out: requests, responses, the cache. All decisions are in
 * core/xds and common/delta-xds; this file only feeds them and does what they say.
 */
import {
  type ClientEvent,
  type ClientState,
  startClient,
  stepClient,
} from '../../common/delta-xds/client.ts'
import {
  type ServerEvent,
  type ServerState,
  startServer,
  step,
} from '../../common/delta-xds/server.ts'
import { MeshError } from '../../common/errors.ts'
import { SECRET_SVID, SECRET_TRUST_BUNDLE, TYPE_URLS, type XdsResource } from '../../common/xds.ts'
import { keepsInbound, noteDesired, releaseKept, withoutInbound } from '../core/xds/kept.ts'
import {
  effectiveSnapshot,
  forgetRefusals,
  forgetRefusalsOf,
  lastGood,
  noteAcked,
  noteNacked,
  noteSent,
  refuseUnanswered,
  startStore,
  transientRefusals,
  type XdsStore,
} from '../core/xds/store.ts'
import { toSvidSecret, trustRootsOf } from '../core/xds/svid-secret.ts'
import {
  desiredOf,
  isListenerProven,
  type Progress,
  progressOf,
  type Streams,
  verdicts,
} from '../core/xds/verdict.ts'
import type { Svid } from '../ports.ts'
import type { DownstreamXds, Log, UpstreamXds, XdsCache } from './xds-ports.ts'

export interface XdsProxyOptions {
  /** xDS node id, `namespace/name/uid`. */
  readonly nodeId: string
  readonly upstream: UpstreamXds
  readonly downstream: DownstreamXds
  readonly cache: XdsCache
  /** The controller distributed other roots (SDS ROOTCA). DER. */
  readonly onTrustBundle?: (roots: readonly Uint8Array[]) => void
  /** Whether nothing of what Envoy has taken still warms; asked afresh. Absent: an ACK is enough. */
  readonly isWarm?: () => Promise<boolean>
  readonly log: Log
}

/** Envoy that still warms is asked again. */
const WARM_LOOK_MS = 200

/** What Envoy refuses because of a port in use may work a little later: soon at first, then ever later. */
const FIRST_RETRY_MS = 200
const RETRY_MS = 5_000

/** How long an inbound listener that an edit took away may wait for what comes in its place: it goes on by old rules. */
const KEEP_MS = 10_000

export class XdsProxy {
  readonly name = 'xds-proxy'
  readonly #options: XdsProxyOptions
  readonly #listeners = new Set<() => void>()
  #upstream: ClientState = startClient()
  #envoy: ServerState | undefined
  #streamCount = 0
  #store: XdsStore = startStore(new Map())
  #svidSecret: XdsResource | undefined
  #trustBundleVersion = ''
  #progress: Progress | undefined
  #retry: NodeJS.Timeout | undefined
  #retryMs = FIRST_RETRY_MS
  #keeping: NodeJS.Timeout | undefined
  #warmLook: NodeJS.Timeout | undefined
  #isLooking = false
  /** The write under way, and whether something changed since it began. */
  #writing: Promise<void> | undefined
  #isDirty = false
  #cacheProblem: string | undefined
  #rewrite: NodeJS.Timeout | undefined

  constructor(options: XdsProxyOptions) {
    this.#options = options
  }

  /** Reads the cache, then serves both streams. */
  async start(): Promise<void> {
    const { nodeId, cache, upstream, downstream, log } = this.#options
    const cached = await cache.read(nodeId)
    this.#upstream = startClient(cached)
    this.#store = startStore(cached)
    const count = [...cached.values()].reduce((sum, list) => sum + list.size, 0)
    log.info({ count }, 'xds cache read')
    upstream.onEvent((event) => {
      if (event.kind === 'opened') log.info({ nodeId }, 'xds stream to the controller opened')
      if (event.kind === 'closed') log.warn({ nodeId }, 'xds stream to the controller ended')
      this.#stepUpstream(event)
      this.#settle()
    })
    downstream.onEvent((event) => {
      if (event.kind === 'opened') this.#openEnvoy()
      else if (event.kind === 'closed') this.#envoy = undefined
      else this.#stepEnvoy(event)
      this.#settle()
    })
  }

  async stop(): Promise<void> {
    clearTimeout(this.#retry)
    clearTimeout(this.#warmLook)
    clearTimeout(this.#keeping)
    clearTimeout(this.#rewrite)
    await this.#writing
  }

  /** The certificate that Envoy serves and calls with, from now on. */
  setSvid(svid: Svid): void {
    this.#svidSecret = toSvidSecret(svid)
    this.#store = forgetRefusalsOf(this.#store, TYPE_URLS.secret, [SECRET_SVID])
    this.#publish()
    this.#settle()
  }

  /** Envoy died again and again: what it never answered is taken for the reason, and the last good is served. */
  envoyKeepsDying(reason: string): void {
    this.#store = refuseUnanswered(this.#store, desiredOf(this.#upstream), reason)
    this.#retryLater()
    this.#publish()
    this.#settle()
  }

  isConnected(): boolean {
    return this.#upstream.connected
  }

  progress(): Progress {
    this.#progress ??= progressOf(this.#streams())
    return this.#progress
  }

  /** Why a restart would lack the newest; undefined: it would not. */
  cacheProblem(): string | undefined {
    return this.#cacheProblem
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #streams(): Streams {
    return { upstream: this.#upstream, envoy: this.#envoy, store: this.#store }
  }

  #openEnvoy(): void {
    this.#streamCount += 1
    this.#envoy = startServer({ isolate: true, noncePrefix: `${this.#streamCount}-` })
    this.#publish()
  }

  /** Call when an Envoy process starts: it is asked again what the one before refused. */
  envoyStarts(): void {
    this.#store = forgetRefusals(this.#store)
  }

  #stepUpstream(event: ClientEvent): void {
    const { state, effects } = stepClient(this.#upstream, event)
    if (effects.some(({ kind }) => kind === 'changed')) {
      const before = desiredOf(this.#upstream)
      this.#store = noteDesired(this.#store, before, desiredOf(state))
      this.#retryMs = FIRST_RETRY_MS
      this.#boundKeeping()
    }
    this.#upstream = state
    let isChanged = false
    for (const effect of effects) {
      if (effect.kind === 'request') this.#options.upstream.request(effect)
      else isChanged = true
    }
    if (!isChanged) return
    this.#publish()
    this.#tellTrustBundle()
  }

  #tellTrustBundle(): void {
    const secrets = this.#upstream.types.get(TYPE_URLS.secret)?.resources
    const bundle = secrets?.get(SECRET_TRUST_BUNDLE)
    if (bundle === undefined || bundle.version === this.#trustBundleVersion) return
    this.#trustBundleVersion = bundle.version
    this.#options.onTrustBundle?.(trustRootsOf(bundle))
  }

  #publish(): void {
    const desired = desiredOf(this.#upstream)
    const snapshot = effectiveSnapshot(desired, this.#store, this.#svidSecret)
    this.#stepEnvoy({ kind: 'snapshot', snapshot })
  }

  #stepEnvoy(event: ServerEvent): void {
    if (this.#envoy === undefined) return
    const { state, effects } = step(this.#envoy, event)
    this.#envoy = state
    const { downstream, log } = this.#options
    let isRefused = false
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
          this.#store = noteSent(this.#store, effect)
          downstream.send(effect)
          break
        case 'acked':
          this.#store = noteAcked(this.#store, effect.typeUrl, effect.versions, effect.removed)
          this.#persist()
          break
        case 'nacked': {
          const { typeUrl, versions, message } = effect
          log.warn({ typeUrl, names: [...versions.keys()], reason: message }, 'envoy refused')
          this.#store = noteNacked(this.#store, typeUrl, versions, message)
          isRefused = true
          this.#retryLater()
          break
        }
        case 'error':
          downstream.reset(effect.message, effect.status)
      }
    }
    if (isRefused) this.#publish()
  }

  #retryLater(): void {
    if (this.#retry !== undefined) return
    if (transientRefusals(this.#store).size === 0) return
    const delayMs = this.#retryMs
    this.#retryMs = Math.min(2 * delayMs, RETRY_MS)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      for (const [typeUrl, names] of transientRefusals(this.#store)) {
        this.#store = forgetRefusalsOf(this.#store, typeUrl, names)
        this.#publish()
        this.#stepEnvoy({ kind: 'retry', typeUrl, names })
      }
      this.#settle()
    }, delayMs).unref()
  }

  /** Tells the controller what can be told, and everyone else that something changed. */
  #settle(): void {
    for (const verdict of verdicts(this.#streams()))
      this.#stepUpstream({ kind: 'verdict', ...verdict })
    this.#progress = undefined
    void this.#releaseKept()
    for (const listener of this.#listeners) listener()
  }

  #isProven(listener: string): boolean {
    return isListenerProven(this.#streams(), listener)
  }

  /** The time runs only while something is kept: the next edit has its own. */
  #boundKeeping(): void {
    if (!keepsInbound(this.#store)) {
      clearTimeout(this.#keeping)
      this.#keeping = undefined
    }
    if (this.#keeping !== undefined || !keepsInbound(this.#store)) return
    this.#keeping = setTimeout(() => {
      this.#keeping = undefined
      if (!keepsInbound(this.#store)) return
      const { nodeId, log } = this.#options
      log.warn(
        { nodeId, afterMs: KEEP_MS },
        'replaced inbound listeners go: their successors do not come',
      )
      this.#store = withoutInbound(this.#store)
      this.#publish()
      this.#persist()
      this.#settle()
    }, KEEP_MS).unref()
  }

  /** What an edit took away goes once Envoy serves what came in its place. */
  async #releaseKept(): Promise<void> {
    if (this.#store.kept.size === 0 || this.#isLooking) return
    const released = () => releaseKept(this.#store, (listener) => this.#isProven(listener))
    if (released().kept.size === this.#store.kept.size) return
    this.#isLooking = true
    const isWarm = await (this.#options.isWarm?.() ?? true)
    this.#isLooking = false
    // Envoy may have asked for more meanwhile, and the controller may want something else.
    const store = released()
    if (store.kept.size === this.#store.kept.size) return
    if (!isWarm) {
      clearTimeout(this.#warmLook)
      this.#warmLook = setTimeout(() => void this.#releaseKept(), WARM_LOOK_MS).unref()
      return
    }
    this.#store = store
    this.#boundKeeping()
    this.#publish()
    this.#persist()
    this.#settle()
  }

  #noteCache(problem: string | undefined): void {
    if (problem === this.#cacheProblem) return
    this.#cacheProblem = problem
    for (const listener of this.#listeners) listener()
  }

  /** One write at a time; what changed meanwhile goes into the next. */
  #persist(): void {
    this.#isDirty = true
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
  }

  async #writeAll(): Promise<void> {
    const { nodeId, cache, log } = this.#options
    // Everything that one burst of ACKs changes is written once.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#isDirty) {
      this.#isDirty = false
      try {
        await cache.write(nodeId, lastGood(desiredOf(this.#upstream), this.#store))
        this.#noteCache(undefined)
      } catch (err) {
        const message =
          'xds cache not written; a restart without the controller would lack the newest'
        if (this.#cacheProblem === undefined) log.error({ err }, message)
        this.#noteCache(`${message}: ${messageOf(err)}`)
        clearTimeout(this.#rewrite)
        this.#rewrite = setTimeout(() => this.#persist(), RETRY_MS).unref()
      }
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof MeshError ? `${error.message} [${error.code}]` : String(error)
}
