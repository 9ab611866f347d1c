/**
 * The delta-ADS stream to the controller. In: requests of the client reducer. Out: its events, as they arrive.
 * One stream per controller session; when it ends, the session has failed and another will come.
 */
import * as grpc from '@grpc/grpc-js'
import { fromResponseMessage, toRequestMessage } from '../../../common/delta-xds/wire.ts'
import {
  FEATURES,
  FEATURES_HEADER,
  NODE_METADATA,
  parseFeatures,
} from '../../../common/features.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { AggregatedDiscoveryService } from '../../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { Log, UpstreamEvent, UpstreamRequest, UpstreamXds } from '../../runtime/xds-ports.ts'
import type { ControllerSession } from './controller-client.ts'

type Call = grpc.ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

export interface AdsClientOptions {
  readonly nodeId: string
  /** This sidecar's; with it goes what it understands. */
  readonly version: string
  /** Why nothing is taken from a controller with these features; undefined: it is. */
  readonly refuses: (features: readonly string[]) => string | undefined
  readonly log: Log
}

export class AdsClient implements UpstreamXds {
  readonly #options: AdsClientOptions
  readonly #node: { readonly id: string; readonly metadata: Record<string, string | string[]> }
  #listener: (event: UpstreamEvent) => void = () => {}
  #call: Call | undefined
  #isNodeSent = false

  constructor(options: AdsClientOptions) {
    this.#options = options
    const { version, features } = NODE_METADATA
    const metadata = { [version]: options.version, [features]: [...FEATURES] }
    this.#node = { id: options.nodeId, metadata }
  }

  onEvent(listener: (event: UpstreamEvent) => void): void {
    this.#listener = listener
  }

  request(request: UpstreamRequest): void {
    if (this.#call === undefined) return
    const node = this.#isNodeSent ? undefined : this.#node
    this.#isNodeSent = true
    this.#call.write(toRequestMessage(request, node))
  }

  /** Opens the stream on a new session; the one before has ended. */
  attach(session: ControllerSession): void {
    const call = openStream(session.channel)
    this.#call = call
    this.#isNodeSent = false
    call.on('data', (message: DeltaDiscoveryResponse) => {
      if (this.#call === call) this.#listener(fromResponseMessage(message))
    })
    let isRefused = false
    call.on('metadata', (metadata: grpc.Metadata) => {
      const why = this.#options.refuses(parseFeatures(metadata.get(FEATURES_HEADER).map(String)))
      if (why === undefined) return
      isRefused = true
      this.#options.log.error({ reason: why }, 'configuration not taken; what is enforced stays')
      this.#end(call)
      call.cancel()
    })
    // `status` comes once, after everything else; `error` repeats it for those that are not OK.
    call.on('error', () => {})
    call.on('status', (status: grpc.StatusObject) => {
      this.#end(call)
      if (isRefused) return
      const code = grpc.status[status.code]
      session.fail(new Error(`xds stream ended: ${code} ${status.details}`))
    })
    session.signal.addEventListener('abort', () => {
      this.#end(call)
      call.cancel()
    })
    this.#listener({ kind: 'opened' })
  }

  #end(call: Call): void {
    if (this.#call !== call) return
    this.#call = undefined
    this.#listener({ kind: 'closed' })
  }
}

function openStream(channel: grpc.Client): Call {
  const method = toServiceDefinition(AggregatedDiscoveryService).DeltaAggregatedResources
  if (method === undefined) throw new Error('delta ADS is not in the descriptor')
  return channel.makeBidiStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
  ) as Call
}
