/**
 * Delta xDS to the sidecars, aggregated or one stream for each type: who may open a stream, and who is told what.
 * In: DeltaDiscoveryRequests over mTLS, and snapshots by `publish`. Out: streams, each bound to one workload.
 * It must never tell a peer anything of another workload: node.id, SPIFFE id and UID must all agree (DESIGN §3).
 */
import * as grpc from '@grpc/grpc-js'
import type { Logger } from 'pino'
import {
  FEATURES,
  FEATURES_HEADER,
  NODE_METADATA,
  parseFeatures,
} from '../../../common/features.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { LogLimit } from '../../../common/log-limit.ts'
import { TYPE_URLS, type TypeUrl, type XdsSnapshot } from '../../../common/xds.ts'
import type { Node } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import { AggregatedDiscoveryService } from '../../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import type { DeltaDiscoveryRequest } from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import {
  type AdsCall,
  AdsStream,
  end,
  type ProxyRecorder,
  type TypeSync,
  type XdsMeter,
} from './ads-stream.ts'

export type { ProxyRecorder, XdsMeter } from './ads-stream.ts'

interface Peer {
  readonly spiffeId: string
  readonly workloadUid: string
}

export interface AdsServerOptions {
  readonly peerOf: (call: AdsCall) => Peer | undefined
  /** xDS node id and SPIFFE id of the workload with this UID in the current model. */
  readonly workloadOf: (
    uid: string,
  ) => { readonly nodeId: string; readonly spiffeId: string } | undefined
  readonly proxies: ProxyRecorder
  readonly meter?: XdsMeter
  readonly log: Logger
}

/** A sidecar has one; one for each type, twice while it reconnects, makes twelve. */
const MAX_STREAMS_OF_PEER = 16
const MAX_VERSION = 64

/** The services of one type each: method → path and type (xDS protocol, "RPC Services and Methods for Each Variant"). */
const SINGLE_TYPES: Readonly<Record<string, { readonly path: string; readonly typeUrl: TypeUrl }>> =
  {
    DeltaClusters: { path: 'cluster.v3.ClusterDiscoveryService', typeUrl: TYPE_URLS.cluster },
    DeltaEndpoints: { path: 'endpoint.v3.EndpointDiscoveryService', typeUrl: TYPE_URLS.endpoint },
    DeltaListeners: { path: 'listener.v3.ListenerDiscoveryService', typeUrl: TYPE_URLS.listener },
    DeltaRoutes: { path: 'route.v3.RouteDiscoveryService', typeUrl: TYPE_URLS.route },
    DeltaSecrets: { path: 'secret.v3.SecretDiscoveryService', typeUrl: TYPE_URLS.secret },
    DeltaExtensionConfigs: {
      path: 'extension.v3.ExtensionConfigDiscoveryService',
      typeUrl: TYPE_URLS.extensionConfig,
    },
  }

const OFFERS_A_TURN = 250

/** A call from its start until nothing of it is left, and what it became. */
interface Opened {
  readonly call: AdsCall
  readonly peer: Peer
  stream: AdsStream | undefined
}

export class AdsServer {
  readonly service: grpc.ServiceDefinition = toServices()
  readonly implementation: grpc.UntypedServiceImplementation = {
    DeltaAggregatedResources: (call: AdsCall) => this.#open(call, undefined),
    StreamAggregatedResources: (call: AdsCall) =>
      end(call, grpc.status.UNIMPLEMENTED, 'only delta xDS is served'),
    ...Object.fromEntries(
      Object.entries(SINGLE_TYPES).map(([method, { typeUrl }]) => [
        method,
        (call: AdsCall) => this.#open(call, typeUrl),
      ]),
    ),
  }
  readonly #options: AdsServerOptions
  readonly #calls = new Set<Opened>()
  /** Every call that still holds memory, by workload UID, oldest first. */
  readonly #ofPeer = new Map<string, Set<Opened>>()
  /** A refusal is counted and stands in the status, so that a line too many is no loss. */
  readonly #refusals = new LogLimit({ nowMs: () => performance.now() })
  #snapshots: ReadonlyMap<string, XdsSnapshot> | undefined
  /** Streams that have not been offered the newest yet. */
  readonly #due = new Set<Opened>()
  #offering: NodeJS.Immediate | undefined

  constructor(options: AdsServerOptions) {
    this.#options = options
  }

  /**
   * Replaces all snapshots at once; keys are node ids. Only proxies whose snapshot changed are sent anything, a few at a
   * time; streams of workloads that are no more are ended at once.
   */
  publish(snapshots: ReadonlyMap<string, XdsSnapshot>): void {
    this.#snapshots = snapshots
    for (const opened of this.#calls) {
      const { stream, peer } = opened
      if (stream === undefined) continue
      if (this.#entitled(peer, stream.nodeId) === undefined) this.#refuse(opened, stream.nodeId)
      else this.#due.add(opened)
    }
    this.#options.proxies.retain(new Set(snapshots.keys()))
    this.#offering ??= setImmediate(() => this.#offerSome())
  }

  /** What is written leaves before more is written: a thousand responses at once would all stand in memory. */
  #offerSome(): void {
    let left = OFFERS_A_TURN
    for (const opened of this.#due) {
      if (left === 0) break
      left -= 1
      this.#due.delete(opened)
      const { stream, peer } = opened
      const snapshot = stream && this.#entitled(peer, stream.nodeId)
      if (snapshot !== undefined) stream?.offer(snapshot)
    }
    this.#offering = this.#due.size > 0 ? setImmediate(() => this.#offerSome()) : undefined
  }

  streams(): number {
    return this.#calls.size
  }

  /** Bytes that were written to streams and not yet taken by their peers. */
  buffered(): number {
    return [...this.#calls].reduce((sum, { stream }) => sum + (stream?.buffered() ?? 0), 0)
  }

  /** How far each connected proxy is, by node id; over all its streams, a later one's word first. */
  sync(): ReadonlyMap<string, readonly TypeSync[]> {
    const byNode = new Map<string, Map<string, TypeSync>>()
    for (const { stream } of this.#calls) {
      if (stream === undefined) continue
      const types = byNode.get(stream.nodeId) ?? new Map<string, TypeSync>()
      for (const sync of stream.sync()) {
        if (sync.status !== 'NOT SENT' || !types.has(sync.typeUrl)) types.set(sync.typeUrl, sync)
      }
      byNode.set(stream.nodeId, types)
    }
    return new Map([...byNode].map(([nodeId, types]) => [nodeId, [...types.values()]]))
  }

  #open(call: AdsCall, typeUrl: TypeUrl | undefined): void {
    const peer = this.#options.peerOf(call)
    // A stream that ends early must not bring the process down.
    call.on('error', () => {})
    if (peer === undefined) {
      end(call, grpc.status.UNAUTHENTICATED, 'a client certificate of this mesh is required')
      return
    }
    const opened: Opened = { call, peer, stream: undefined }
    if (!this.#admit(opened)) return
    this.#calls.add(opened)
    // Comes before the first response: a sidecar that enforces what we don't know keeps it.
    const ours = new grpc.Metadata()
    ours.set(FEATURES_HEADER, FEATURES.join(','))
    call.sendMetadata(ours)
    const close = () => {
      this.#due.delete(opened)
      if (this.#calls.delete(opened)) opened.stream?.close()
    }
    for (const event of ['close', 'cancelled', 'error']) call.on(event, close)
    call.on('end', () => {
      close()
      call.end()
    })
    call.on('data', (message: DeltaDiscoveryRequest) => this.#take(opened, message, typeUrl))
  }

  /** Bounds what one workload's streams can hold. A stream counts until it is off the wire, read or not. */
  #admit(opened: Opened): boolean {
    const { call, peer } = opened
    const own = this.#ofPeer.get(peer.workloadUid) ?? new Set<Opened>()
    const [oldest] = own
    if (own.size >= MAX_STREAMS_OF_PEER && oldest !== undefined) {
      this.#options.log.warn({ workloadUid: peer.workloadUid }, 'too many xds streams of one peer')
      end(oldest.call, grpc.status.RESOURCE_EXHAUSTED, 'too many streams of this workload')
      end(call, grpc.status.UNAVAILABLE, 'too many streams of this workload; try again')
      return false
    }
    this.#ofPeer.set(peer.workloadUid, own.add(opened))
    call.on('cancelled', () => {
      own.delete(opened)
      if (own.size === 0) this.#ofPeer.delete(peer.workloadUid)
    })
    return true
  }

  #take(opened: Opened, message: DeltaDiscoveryRequest, typeUrl: TypeUrl | undefined): void {
    if (!this.#calls.has(opened)) return
    if (opened.stream === undefined && !this.#identify(opened, message, typeUrl)) return
    opened.stream?.take(message)
  }

  /** Binds the stream to its workload, or ends it. */
  #identify(opened: Opened, message: DeltaDiscoveryRequest, typeUrl: TypeUrl | undefined): boolean {
    const nodeId = message.node?.id ?? ''
    const { call, peer } = opened
    if (this.#snapshots === undefined) {
      end(call, grpc.status.UNAVAILABLE, 'no configuration yet; try again')
      return false
    }
    const snapshot = this.#entitled(peer, nodeId)
    if (snapshot === undefined) {
      this.#refuse(opened, nodeId)
      return false
    }
    const { proxies, meter, log } = this.#options
    const abilities = abilitiesOf(message.node)
    proxies.described(nodeId, abilities)
    const { features } = abilities
    const parts = {
      proxies,
      log,
      refusals: this.#refusals,
      ...(meter === undefined ? {} : { meter }),
    }
    opened.stream = new AdsStream({ call, nodeId, typeUrl, features, ...parts })
    opened.stream.offer(snapshot)
    return true
  }

  /** The snapshot of the node, if it is the peer's own. */
  #entitled(peer: Peer, nodeId: string): XdsSnapshot | undefined {
    const workload = this.#options.workloadOf(peer.workloadUid)
    if (workload?.nodeId !== nodeId || workload.spiffeId !== peer.spiffeId) return undefined
    return this.#snapshots?.get(nodeId)
  }

  #refuse({ call, peer }: Opened, nodeId: string): void {
    const { spiffeId, workloadUid } = peer
    const fields = {
      code: 'ERR_PEER_FORBIDDEN',
      nodeId: nodeId.slice(0, 300),
      spiffeId,
      workloadUid,
    }
    const leftOut = this.#refusals.take(workloadUid)
    if (leftOut !== undefined)
      this.#options.log.warn({ ...fields, leftOut }, 'xds refused: node is not the peer')
    end(call, grpc.status.PERMISSION_DENIED, 'node.id is not a workload of this certificate')
  }
}

function abilitiesOf(node: Node | undefined): { version: string; features: readonly string[] } {
  const { [NODE_METADATA.version]: version, [NODE_METADATA.features]: features } =
    node?.metadata ?? {}
  return {
    version: typeof version === 'string' ? version.slice(0, MAX_VERSION) : '',
    features: parseFeatures(features),
  }
}

function toServices(): grpc.ServiceDefinition {
  const aggregated = toServiceDefinition(AggregatedDiscoveryService)
  const delta = aggregated.DeltaAggregatedResources
  if (delta === undefined) throw new Error('delta ADS is not in the descriptor')
  const single = Object.entries(SINGLE_TYPES).map(([method, { path }]) => [
    method,
    { ...delta, path: `/envoy.service.${path}/${method}`, originalName: method },
  ])
  return { ...aggregated, ...Object.fromEntries(single) }
}
