/**
 * The listener of an inbound port. TLS and plaintext have a chain each; STRICT leaves out the plaintext chain and
 * nothing else, so that a change of mode keeps the TLS chain and its connections, and plaintext finds no chain.
 */
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type Filter,
  type FilterChain,
  FilterChainSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type Listener,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { TlsInspectorSchema } from '../../../proto/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import type { InboundPort, MeshSettings } from '../model/mesh.ts'
import { duration, pack, socketAddress } from './encode.ts'
import { buildInboundHttp } from './http-connection-manager.ts'
import * as limits from './limits.ts'
import { listenerName, type Transport, transportsOf } from './names.ts'
import { buildServerFirstChain } from './server-first.ts'
import { buildInboundTcp } from './tcp-proxy.ts'
import { buildDownstreamTls } from './tls.ts'

export function buildInboundListener(port: InboundPort, mesh: MeshSettings): Listener {
  return create(ListenerSchema, {
    name: listenerName('inbound', port.port),
    address: socketAddress(port.address, port.port),
    trafficDirection: TrafficDirection.INBOUND,
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    tcpBacklogSize: limits.TCP_BACKLOG,
    // One socket: with SO_REUSEPORT another process of this user could take a share of the connections.
    enableReusePort: false,
    listenerFilters: [
      {
        name: 'envoy.filters.listener.tls_inspector',
        configType: { case: 'typedConfig', value: pack(TlsInspectorSchema, {}) },
      },
    ],
    listenerFiltersTimeout: duration(limits.LISTENER_FILTERS_TIMEOUT_MS),
    filterChains: transportsOf(port).map((transport) => buildChain(port, transport, mesh)),
  })
}

function buildChain(port: InboundPort, transport: Transport, mesh: MeshSettings): FilterChain {
  const transportProtocol = transport === 'tls' ? 'tls' : 'raw_buffer'
  return create(FilterChainSchema, {
    name: transport,
    filterChainMatch: { transportProtocol },
    transportSocketConnectTimeout: duration(limits.HANDSHAKE_TIMEOUT_MS),
    ...(transport === 'tls' ? { transportSocket: buildDownstreamTls(port, mesh) } : {}),
    filters: buildFilters(port, transport, mesh),
  })
}

function buildFilters(port: InboundPort, transport: Transport, mesh: MeshSettings): Filter[] {
  if (port.protocol !== 'TCP') return [buildInboundHttp(port, transport, mesh)]
  return port.serverFirst
    ? buildServerFirstChain(port, transport, mesh)
    : buildInboundTcp(port, transport, mesh)
}
