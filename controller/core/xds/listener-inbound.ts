/**
 * The listener of an inbound port: a chain for each way to reach it (chain-matcher.ts chooses). Chains are the same in
 * every mode that has them, so that from PERMISSIVE to STRICT mesh connections stay and all others end.
 */
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type Filter,
  type FilterChain,
  FilterChainSchema,
  ListenerFilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type Listener,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { TlsInspectorSchema } from '../../../proto/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import type { InboundPort, MeshSettings } from '../model/mesh.ts'
import { buildChainMatcher } from './chain-matcher.ts'
import { duration, pack, socketAddress } from './encode.ts'
import type { SlotForm } from './extension-slot.ts'
import { buildInboundHttp, type Callee } from './http-connection-manager.ts'
import * as limits from './limits.ts'
import { decidedAtOnce, isTcpChain, listenerName, type Transport, transportsOf } from './names.ts'
import { buildServerFirstChain } from './server-first.ts'
import { buildInboundTcp } from './tcp-proxy.ts'
import { buildDownstreamTls } from './tls.ts'

/** `service` is what traces call the workload. */
export function buildInboundListener(
  port: InboundPort,
  mesh: MeshSettings,
  { service = '', form = 'one-slot' }: { readonly service?: string; readonly form?: SlotForm } = {},
): Listener {
  const callee = { mesh, service, form }
  return create(ListenerSchema, {
    name: listenerName('inbound', port.port),
    address: socketAddress(port.address, port.port),
    trafficDirection: TrafficDirection.INBOUND,
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    tcpBacklogSize: limits.TCP_BACKLOG,
    // One socket: with SO_REUSEPORT another process of this user could take a share of the connections.
    enableReusePort: false,
    ...(port.mtls === 'DISABLE' ? {} : buildTlsInspector(port)),
    filterChainMatcher: buildChainMatcher(port.mtls),
    filterChains: transportsOf(port).map((transport) => buildChain(port, transport, callee)),
  })
}

/** Tells TLS from other bytes. Where no TLS is taken nobody has to wait for it. */
function buildTlsInspector(port: InboundPort) {
  const mayWait = port.serverFirst && port.mtls === 'PERMISSIVE'
  return {
    listenerFilters: [
      create(ListenerFilterSchema, {
        name: 'envoy.filters.listener.tls_inspector',
        configType: { case: 'typedConfig', value: pack(TlsInspectorSchema, {}) },
      }),
    ],
    listenerFiltersTimeout: duration(
      mayWait ? limits.SILENT_PLAINTEXT_MS : limits.LISTENER_FILTERS_TIMEOUT_MS,
    ),
    continueOnListenerFiltersTimeout: mayWait,
  }
}

/** The chain of one port for one transport. */
export function buildChain(port: InboundPort, transport: Transport, callee: Callee): FilterChain {
  return create(FilterChainSchema, {
    name: transport,
    transportSocketConnectTimeout: duration(limits.HANDSHAKE_TIMEOUT_MS),
    ...(transport === 'tls' ? { transportSocket: buildDownstreamTls(port, callee.mesh) } : {}),
    filters: buildFilters(port, transport, callee),
  })
}

function buildFilters(port: InboundPort, transport: Transport, callee: Callee): Filter[] {
  const { mesh } = callee
  if (!isTcpChain(port, transport)) return [buildInboundHttp(port, transport, callee)]
  return decidedAtOnce(port).includes(transport)
    ? buildServerFirstChain(port, transport, mesh)
    : buildInboundTcp(port, transport, mesh)
}
