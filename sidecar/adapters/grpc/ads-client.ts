/**
 * The delta-ADS stream to the controller. In: requests of the client reducer. Out: its events, as they arrive.
 * One stream per controller session; when it ends, the session has failed and another will come.
 */
import * as grpc from '@grpc/grpc-js'
import { fromResponseMessage, toRequestMessage } from '../../../common/delta-xds/wire.ts'
import { FEATURES, NODE_METADATA } from '../../../common/features.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { AggregatedDiscoveryService } from '../../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { UpstreamEvent, UpstreamRequest, UpstreamXds } from '../../runtime/xds-ports.ts'
import type { ControllerSession } from './controller-client.ts'

type Call = grpc.ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

export class AdsClient implements UpstreamXds {
  readonly #node: { readonly id: string; readonly metadata: Record<string, string | string[]> }
  #listener: (event: UpstreamEvent) => void = () => {}
  #call: Call | undefined
  #isNodeSent = false

  /** `version` is this sidecar's; with it goes what it understands. */
  constructor(nodeId: string, version: string) {
    const { version: versionKey, features } = NODE_METADATA
    this.#node = { id: nodeId, metadata: { [versionKey]: version, [features]: [...FEATURES] } }
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
    // `status` comes once, after everything else; `error` repeats it for those that are not OK.
    call.on('error', () => {})
    call.on('status', (status: grpc.StatusObject) => {
      this.#end(call)
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
