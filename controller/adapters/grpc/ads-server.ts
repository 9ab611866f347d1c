/**
 * Delta ADS to the sidecars: each stream is one reducer of common/delta-xds, bound to one workload.
 * In: DeltaDiscoveryRequests over mTLS, and snapshots by `publish`. Out: responses, verdicts for the registry.
 * It must never tell a peer anything of another workload: node.id, SPIFFE id and UID must all agree (DESIGN §3).
 */
import * as grpc from '@grpc/grpc-js'
import type { Logger } from 'pino'
import {
  type ServerEvent,
  type ServerState,
  startServer,
  step,
} from '../../../common/delta-xds/server.ts'
import { fromRequestMessage, toResponseMessage } from '../../../common/delta-xds/wire.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import type { XdsSnapshot } from '../../../common/xds.ts'
import { AggregatedDiscoveryService } from '../../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'

type Call = grpc.ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

interface Peer {
  readonly spiffeId: string
  readonly workloadUid: string
}

/** Where verdicts and connections are told. */
export interface ProxyRecorder {
  opened(nodeId: string): () => void
  forgetNacks(nodeId: string): void
  nacked(nodeId: string, typeUrl: string, message: string): void
  acked(nodeId: string, typeUrl: string): void
  retain(nodeIds: ReadonlySet<string>): void
}

export interface AdsServerOptions {
  readonly peerOf: (call: Call) => Peer | undefined
  /** xDS node id and SPIFFE id of the workload with this UID in the current model. */
  readonly workloadOf: (
    uid: string,
  ) => { readonly nodeId: string; readonly spiffeId: string } | undefined
  readonly proxies: ProxyRecorder
  readonly log: Logger
}

/** Text of a NACK that is kept at most. */
const MAX_MESSAGE = 2048

interface Stream {
  readonly call: Call
  readonly peer: Peer
  state: ServerState
  nodeId: string | undefined
  close: () => void
}

export class AdsServer {
  readonly service = toServiceDefinition(AggregatedDiscoveryService)
  readonly implementation: grpc.UntypedServiceImplementation = {
    DeltaAggregatedResources: (call: Call) => this.#open(call),
    StreamAggregatedResources: (call: Call) =>
      end(call, grpc.status.UNIMPLEMENTED, 'only delta xDS is served'),
  }
  readonly #options: AdsServerOptions
  readonly #streams = new Set<Stream>()
  #snapshots: ReadonlyMap<string, XdsSnapshot> | undefined

  constructor(options: AdsServerOptions) {
    this.#options = options
  }

  /** Replaces all snapshots at once; keys are node ids. Streams of workloads that are no more are ended. */
  publish(snapshots: ReadonlyMap<string, XdsSnapshot>): void {
    this.#snapshots = snapshots
    for (const stream of this.#streams) {
      if (stream.nodeId === undefined) continue
      const snapshot = this.#entitled(stream.peer, stream.nodeId)
      if (snapshot === undefined) this.#refuse(stream, stream.nodeId)
      else if (snapshot.version !== stream.state.snapshot?.version)
        this.#step(stream, { kind: 'snapshot', snapshot })
    }
    this.#options.proxies.retain(new Set(snapshots.keys()))
  }

  #open(call: Call): void {
    const peer = this.#options.peerOf(call)
    // A stream that ends early must not bring the process down.
    call.on('error', () => {})
    if (peer === undefined) {
      end(call, grpc.status.UNAUTHENTICATED, 'a client certificate of this mesh is required')
      return
    }
    const state = startServer({ isolate: false })
    const stream: Stream = { call, peer, state, nodeId: undefined, close: () => {} }
    this.#streams.add(stream)
    const close = () => {
      if (!this.#streams.delete(stream)) return
      this.#step(stream, { kind: 'closed' })
      stream.close()
    }
    for (const event of ['close', 'cancelled', 'error']) call.on(event, close)
    call.on('end', () => {
      close()
      call.end()
    })
    call.on('data', (message: DeltaDiscoveryRequest) => this.#take(stream, message))
  }

  #take(stream: Stream, message: DeltaDiscoveryRequest): void {
    if (!this.#streams.has(stream)) return
    const nodeId = message.node?.id ?? ''
    if (stream.nodeId === undefined) {
      if (!this.#identify(stream, nodeId)) return
    } else if (nodeId !== '' && nodeId !== stream.nodeId) {
      end(stream.call, grpc.status.INVALID_ARGUMENT, 'node.id changed within the stream')
      return
    }
    this.#step(stream, { kind: 'request', request: fromRequestMessage(message) })
  }

  /** Binds the stream to its workload, or ends it. */
  #identify(stream: Stream, nodeId: string): boolean {
    if (this.#snapshots === undefined) {
      end(stream.call, grpc.status.UNAVAILABLE, 'no configuration yet; try again')
      return false
    }
    const snapshot = this.#entitled(stream.peer, nodeId)
    if (snapshot === undefined) {
      this.#refuse(stream, nodeId)
      return false
    }
    stream.nodeId = nodeId
    stream.close = this.#options.proxies.opened(nodeId)
    this.#options.proxies.forgetNacks(nodeId)
    this.#step(stream, { kind: 'snapshot', snapshot })
    return true
  }

  /** The snapshot of the node, if it is the peer's own. */
  #entitled(peer: Peer, nodeId: string): XdsSnapshot | undefined {
    const workload = this.#options.workloadOf(peer.workloadUid)
    if (workload?.nodeId !== nodeId || workload.spiffeId !== peer.spiffeId) return undefined
    return this.#snapshots?.get(nodeId)
  }

  #refuse(stream: Stream, nodeId: string): void {
    const { spiffeId, workloadUid } = stream.peer
    const fields = {
      code: 'ERR_PEER_FORBIDDEN',
      nodeId: nodeId.slice(0, 300),
      spiffeId,
      workloadUid,
    }
    this.#options.log.warn(fields, 'xds refused: node is not the peer')
    end(stream.call, grpc.status.PERMISSION_DENIED, 'node.id is not a workload of this certificate')
  }

  #step(stream: Stream, event: ServerEvent): void {
    const { state, effects } = step(stream.state, event)
    stream.state = state
    const { proxies, log } = this.#options
    const nodeId = stream.nodeId ?? ''
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
          send(stream.call, toResponseMessage(effect))
          break
        case 'acked':
          proxies.acked(nodeId, effect.typeUrl)
          break
        case 'nacked': {
          const message = effect.message.slice(0, MAX_MESSAGE)
          log.warn({ nodeId, typeUrl: effect.typeUrl, reason: message }, 'proxy refused resources')
          proxies.nacked(nodeId, effect.typeUrl, message)
          break
        }
        case 'error':
          end(stream.call, grpc.status[effect.status], effect.message)
      }
    }
  }
}

/** A peer that asks without reading is not listened to until it has read. */
function send(call: Call, message: DeltaDiscoveryResponse): void {
  if (call.write(message)) return
  call.pause()
  call.once('drain', () => call.resume())
}

function end(call: Call, code: grpc.status, details: string): void {
  call.emit('error', Object.assign(new Error(details), { code, details }))
}
