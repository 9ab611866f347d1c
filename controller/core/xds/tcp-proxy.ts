/**
 * TCP chains: network RBAC, then the proxy to app or service. A denied client's connection is closed.
 * RBAC decides on the client's first byte, so the app is called only once data has come; else a server that speaks
 * first would greet a denied client. Protocols in which the client waits for the server's greeting don't work yet.
 */
import { create } from '@bufbuild/protobuf'
import {
  type Filter,
  FilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type TcpProxy,
  TcpProxySchema,
  UpstreamConnectMode,
} from '../../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { InboundPort, MeshSettings, OutboundPort } from '../model/mesh.ts'
import { buildTcpAccessLog } from './access-log.ts'
import { duration, pack } from './encode.ts'
import { buildNetworkRbacSlot } from './extension-slot.ts'
import * as limits from './limits.ts'
import { appClusterName, listenerName, serviceClusterName, type Transport } from './names.ts'

export function buildInboundTcp(
  port: InboundPort,
  transport: Transport,
  mesh: MeshSettings,
): Filter[] {
  const lifeMs = mesh.svidLifetimeSeconds * 1000 * limits.INBOUND_CONNECTION_LIFE_SHARE
  const life = {
    maxDownstreamConnectionDuration: duration(lifeMs),
    maxDownstreamConnectionDurationJitterPercentage: {
      value: limits.CONNECTION_LIFE_JITTER_PERCENT,
    },
  }
  const proxy = create(TcpProxySchema, {
    statPrefix: `${listenerName('inbound', port.port)}/${transport}`,
    clusterSpecifier: { case: 'cluster', value: appClusterName(port) },
    upstreamConnectMode: UpstreamConnectMode.ON_DOWNSTREAM_DATA,
    maxEarlyDataBytes: limits.CONNECTION_BUFFER_BYTES,
    idleTimeout: duration(limits.TCP_IDLE_TIMEOUT_MS),
    accessLog: [buildTcpAccessLog()],
    ...(transport === 'tls' ? life : {}),
  })
  return [buildNetworkRbacSlot(port.port, transport), toFilter(proxy)]
}

export function buildOutboundTcp(port: OutboundPort): Filter {
  return toFilter(
    create(TcpProxySchema, {
      statPrefix: listenerName('outbound', port.port),
      clusterSpecifier: { case: 'cluster', value: serviceClusterName(port) },
      idleTimeout: duration(limits.TCP_IDLE_TIMEOUT_MS),
      maxConnectAttempts: 1 + limits.RETRIES,
    }),
  )
}

function toFilter(proxy: TcpProxy): Filter {
  return create(FilterSchema, {
    name: 'envoy.filters.network.tcp_proxy',
    configType: { case: 'typedConfig', value: pack(TcpProxySchema, proxy) },
  })
}
