/**
 * One delta-xDS stream of one proxy: feeds the reducer of common/delta-xds and does what it says.
 * In: requests, snapshots. Out: responses, verdicts for the recorder. While the peer does not read, nothing is sent or
 * heard, and only the newest snapshot is kept for it: a stuck proxy costs its last state, however much changes.
 */
import { randomBytes } from 'node:crypto'
import * as grpc from '@grpc/grpc-js'
import type { Logger } from 'pino'
import {
  isSettled,
  type SendEffect,
  type ServerEffect,
  type ServerEvent,
  type ServerState,
  startServer,
  step,
} from '../../../common/delta-xds/server.ts'
import { type SyncStatus, syncOf } from '../../../common/delta-xds/sync.ts'
import {
  blamedNames,
  fromRequestMessage,
  toResponseMessage,
} from '../../../common/delta-xds/wire.ts'
import { missingFeatures } from '../../../common/features.ts'
import type { LogLimit } from '../../../common/log-limit.ts'
import { Outflow } from '../../../common/outflow.ts'
import type { XdsSnapshot } from '../../../common/xds.ts'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'

export type AdsCall = grpc.ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

/** Where verdicts and connections are told. */
export interface ProxyRecorder {
  opened(nodeId: string, kind: 'xds'): () => void
  described(
    nodeId: string,
    abilities: { readonly version: string; readonly features: readonly string[] },
  ): void
  forgetNacks(nodeId: string, typeUrl: string): void
  nacked(nodeId: string, typeUrl: string, names: readonly string[], message: string): void
  acked(nodeId: string, typeUrl: string, names: readonly string[]): void
  /** The proxy has ACKed all of this generation. */
  settled(nodeId: string, generation: string): void
  /** What this proxy will call `generation`, being older, is `newest` to everybody else. */
  standsFor(nodeId: string, generation: string, newest: string): void
  retain(nodeIds: ReadonlySet<string>): void
}

/** What is counted. */
export interface XdsMeter {
  pushed(typeUrl: string): void
  /** `seconds` since the response; undefined for a verdict that was changed later. */
  answered(typeUrl: string, answer: 'ack' | 'nack', seconds: number | undefined): void
}

/** Text of a NACK that is kept at most. */
const MAX_MESSAGE = 2048
/** Names of refused resources in one log line. */
const MAX_SHOWN = 20

/** How far a proxy is with one type. */
export interface TypeSync {
  readonly typeUrl: string
  readonly status: SyncStatus
  /** Since when it is not at the newest, epoch milliseconds; absent: it is. */
  readonly sinceMs?: number
}

export interface AdsStreamOptions {
  readonly call: AdsCall
  readonly nodeId: string
  /** A stream of its own type only; undefined: aggregated. */
  readonly typeUrl: string | undefined
  /** Tokens of common/features.ts that the proxy named; none for 0.1. */
  readonly features: readonly string[]
  readonly proxies: ProxyRecorder
  readonly meter?: XdsMeter
  readonly log: Logger
  /** Outlives the stream: a proxy that refuses may come again and again. */
  readonly refusals: LogLimit
}

export class AdsStream {
  readonly nodeId: string
  readonly #options: AdsStreamOptions
  readonly #outflow: Outflow
  readonly #close: () => void
  #state: ServerState
  /** The newest snapshot, while the peer is behind. */
  #waiting: XdsSnapshot | undefined
  /** The generation that was withheld last. */
  #withheld = ''
  /** When what the peer is not yet at was offered or sent, epoch milliseconds. */
  #offeredAtMs = 0
  readonly #sentAtMs = new Map<string, number>()
  /** The same by the monotonic clock, for what is counted. */
  readonly #sentMs = new Map<string, number>()

  constructor(options: AdsStreamOptions) {
    const { call, nodeId, proxies } = options
    this.nodeId = nodeId
    this.#options = options
    this.#outflow = new Outflow(call, () => this.#catchUp())
    // A nonce of another stream, or a guess, must not pass for an answer.
    const noncePrefix = `${randomBytes(6).toString('hex')}-`
    this.#state = startServer({ isolate: false, noncePrefix })
    this.#close = proxies.opened(nodeId, 'xds')
  }

  /** Written to the peer and not yet taken from us, in bytes. */
  buffered(): number {
    return this.#outflow.bytes()
  }

  /**
   * Unless the proxy lacks a feature that it needs: then it is told nothing and stays at what it has, or at nothing.
   * Half of it, or what it would read as something else, could open what was meant to be closed.
   */
  offer(newestForm: XdsSnapshot): void {
    const snapshot = this.#formOf(newestForm)
    const newest = this.#waiting ?? this.#state.snapshot
    if (newest?.version === snapshot.version) {
      this.#withheld = ''
      return
    }
    // What it said of an earlier offer, perhaps of the same generation, is out of date.
    this.#options.proxies.settled(this.nodeId, '')
    if (this.#withheld !== snapshot.version) this.#offeredAtMs = Date.now()
    const lacks = missingFeatures(snapshot.requires, this.#options.features)
    if (lacks.length > 0) {
      this.#withhold(snapshot.version, lacks)
      return
    }
    this.#withheld = ''
    if (this.#outflow.isBehind()) this.#waiting = snapshot
    else this.#step({ kind: 'snapshot', snapshot })
  }

  /** What the proxy understands; the registry knows it by the generation that it stands for. */
  #formOf(snapshot: XdsSnapshot): XdsSnapshot {
    const { features, proxies } = this.#options
    if (snapshot.older === undefined || features.includes(snapshot.older.lacking)) return snapshot
    const older = snapshot.older.snapshot
    proxies.standsFor(this.nodeId, older.version, snapshot.version)
    return older
  }

  #withhold(generation: string, lacks: readonly string[]): void {
    if (this.#withheld === generation) return
    this.#withheld = generation
    const fields = { nodeId: this.nodeId, generation, lacks }
    this.#options.log.warn(fields, 'configuration withheld: the proxy does not know all of it')
  }

  take(message: DeltaDiscoveryRequest): void {
    const { typeUrl, proxies } = this.#options
    const own = typeUrl ?? message.typeUrl
    const claimed = message.node?.id ?? ''
    if (claimed !== '' && claimed !== this.nodeId) {
      this.#fail(grpc.status.INVALID_ARGUMENT, 'node.id changed within the stream')
    } else if (message.typeUrl !== '' && message.typeUrl !== own) {
      this.#fail(grpc.status.INVALID_ARGUMENT, 'type_url is not this service’s')
    } else {
      // A new stream is told again what was refused, so that it can refuse it again.
      if (!this.#state.subscriptions.has(own)) proxies.forgetNacks(this.nodeId, own)
      const request = { ...fromRequestMessage(message), typeUrl: own }
      this.#step({ kind: 'request', request })
    }
  }

  /** For people; worked out only when somebody asks. */
  sync(): readonly TypeSync[] {
    const isBehind = this.#waiting !== undefined || this.#withheld !== ''
    return [...syncOf(this.#state)].map(([typeUrl, found]): TypeSync => {
      const status = found === 'SYNCED' && isBehind ? 'STALE' : found
      if (status === 'SYNCED') return { typeUrl, status }
      return { typeUrl, status, sinceMs: this.#sentAtMs.get(typeUrl) ?? this.#offeredAtMs }
    })
  }

  close(): void {
    this.#waiting = undefined
    this.#step({ kind: 'closed' })
    this.#close()
  }

  #catchUp(): void {
    const snapshot = this.#waiting
    this.#waiting = undefined
    if (snapshot !== undefined) this.#step({ kind: 'snapshot', snapshot })
  }

  #step(event: ServerEvent): void {
    const { state, effects } = step(this.#state, event)
    this.#state = state
    for (const effect of effects) this.#perform(effect)
    // Also by its first requests: one that comes back with all that there is needs to be sent nothing.
    const generation = state.snapshot?.version
    if (event.kind !== 'closed' && generation !== undefined && isSettled(state))
      this.#options.proxies.settled(this.nodeId, generation)
  }

  #perform(effect: ServerEffect): void {
    const { proxies, log } = this.#options
    const { nodeId } = this
    switch (effect.kind) {
      case 'send':
        if (!this.#sentAtMs.has(effect.typeUrl)) this.#sentAtMs.set(effect.typeUrl, Date.now())
        this.#sentMs.set(effect.typeUrl, performance.now())
        this.#options.meter?.pushed(effect.typeUrl)
        this.#outflow.write(toResponseMessage(effect), sizeOf(effect))
        break
      case 'acked':
        this.#sentAtMs.delete(effect.typeUrl)
        this.#countAnswer(effect.typeUrl, 'ack')
        proxies.acked(nodeId, effect.typeUrl, [...effect.versions.keys(), ...effect.removed])
        break
      case 'nacked': {
        const { typeUrl, versions } = effect
        this.#countAnswer(typeUrl, 'nack')
        const message = effect.message.slice(0, MAX_MESSAGE)
        const names = blamedNames([...versions.keys()], effect.message)
        const shown = names.slice(0, MAX_SHOWN)
        const leftOut = this.#options.refusals.take(nodeId)
        if (leftOut !== undefined) {
          const fields = { nodeId, typeUrl, names: shown, reason: message, leftOut }
          log.warn(fields, 'proxy refused resources')
        }
        proxies.nacked(nodeId, typeUrl, names, message)
        break
      }
      case 'error':
        this.#fail(grpc.status[effect.status], effect.message)
    }
  }

  #countAnswer(typeUrl: string, answer: 'ack' | 'nack'): void {
    const sentMs = this.#sentMs.get(typeUrl)
    this.#sentMs.delete(typeUrl)
    const seconds = sentMs === undefined ? undefined : (performance.now() - sentMs) / 1000
    this.#options.meter?.answered(typeUrl, answer, seconds)
  }

  #fail(code: grpc.status, details: string): void {
    end(this.#options.call, code, details)
  }
}

export function end(call: AdsCall, code: grpc.status, details: string): void {
  call.emit('error', Object.assign(new Error(details), { code, details }))
}

/** About the size of a response on the wire. */
function sizeOf({ resources, removed }: SendEffect): number {
  const content = resources.reduce((sum, r) => sum + r.value.length + r.name.length + 100, 100)
  return removed.reduce((sum, name) => sum + name.length + 2, content)
}
