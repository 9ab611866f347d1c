/** The listener of an outbound port: plaintext from the app on loopback, mTLS to the destination's cluster. */
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type Listener,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import type { MeshSettings, OutboundPort } from '../model/mesh.ts'
import { socketAddress } from './encode.ts'
import { buildOutboundHttp } from './http-connection-manager.ts'
import * as limits from './limits.ts'
import { listenerName } from './names.ts'
import { buildOutboundTcp } from './tcp-proxy.ts'

/** `service` is what traces call the caller. */
export function buildOutboundListener(
  port: OutboundPort,
  mesh: MeshSettings,
  service: string,
): Listener {
  const filter =
    port.protocol === 'TCP' ? buildOutboundTcp(port, mesh) : buildOutboundHttp(port, mesh, service)

  return create(ListenerSchema, {
    name: listenerName('outbound', port.port),
    address: socketAddress(port.address, port.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    tcpBacklogSize: limits.TCP_BACKLOG,
    enableReusePort: false,
    filterChains: [
      {
        name: 'app',
        filters: [filter],
      },
    ],
  })
}
