/** The listener of an outbound port: plaintext from the app on loopback, mTLS to the destination's cluster. */
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type Listener,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import type { OutboundPort } from '../model/mesh.ts'
import { socketAddress } from './encode.ts'
import { buildOutboundHttp } from './http-connection-manager.ts'
import * as limits from './limits.ts'
import { listenerName } from './names.ts'
import { buildOutboundTcp } from './tcp-proxy.ts'

export function buildOutboundListener(port: OutboundPort): Listener {
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
        filters: [port.protocol === 'TCP' ? buildOutboundTcp(port) : buildOutboundHttp(port)],
      },
    ],
  })
}
