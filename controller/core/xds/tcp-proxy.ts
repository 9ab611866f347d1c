/**
 * TCP chains: network RBAC, then the proxy to app or service. A denied client's connection is closed.
 * RBAC decides on the client's first byte, so the app is called only once data has come; else a server that speaks
 * first would greet a denied client. Ports whose server speaks first have chains of their own (server-first.ts).
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type Filter,
  FilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  TcpProxySchema,
  UpstreamConnectMode,
} from '../../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { InboundPort, MeshSettings, OutboundPort } from '../model/mesh.ts'
import type { BackendTraffic } from '../model/traffic.ts'
import { buildOutboundTcpLogs, buildTcpAccessLog } from './access-log.ts'
import { duration, pack } from './encode.ts'
import { buildNetworkRbacSlot } from './extension-slot.ts'
import * as limits from './limits.ts'
import { appClusterName, listenerName, serviceClusterName, type Transport } from './names.ts'

export function buildInboundTcp(
  port: InboundPort,
  transport: Transport,
  mesh: MeshSettings,
): Filter[] {
  const proxy = toTcpProxy({
    statPrefix: `${listenerName('inbound', port.port)}/${transport}`,
    clusterSpecifier: { case: 'cluster', value: appClusterName(port) },
    upstreamConnectMode: UpstreamConnectMode.ON_DOWNSTREAM_DATA,
    maxEarlyDataBytes: limits.CONNECTION_BUFFER_BYTES,
    accessLog: [buildTcpAccessLog(mesh)],
    ...buildTcpLife(transport, mesh),
  })
  return [buildNetworkRbacSlot(port.port, transport), proxy]
}

/** How long an inbound TCP connection may last (Envoy's jitter adds to it), and how long be idle. Plaintext has no certificate to outlive. */
export function buildTcpLife(transport: Transport, mesh: MeshSettings) {
  const lifeMs = mesh.svidLifetimeSeconds * 1000 * limits.INBOUND_CONNECTION_LIFE_SHARE
  const life = {
    maxDownstreamConnectionDuration: duration(lifeMs),
    maxDownstreamConnectionDurationJitterPercentage: {
      value: limits.CONNECTION_LIFE_JITTER_PERCENT,
    },
  }
  return {
    idleTimeout: duration(limits.TCP_IDLE_TIMEOUT_MS),
    ...(transport === 'tls' ? life : {}),
  }
}

export function buildOutboundTcp(port: OutboundPort, mesh: MeshSettings): Filter {
  const statPrefix = listenerName('outbound', port.port)
  return buildServiceTcp({ mesh, cluster: serviceClusterName(port), statPrefix }, port.traffic)
}

export interface TcpWay {
  readonly mesh: MeshSettings
  readonly cluster: string
  /** Default: the cluster's name. */
  readonly statPrefix?: string
}

/** Towards a service, whose servers are behind `cluster`. */
export function buildServiceTcp(way: TcpWay, traffic: BackendTraffic = {}): Filter {
  const { mesh, cluster, statPrefix = cluster } = way
  return toTcpProxy({
    statPrefix,
    accessLog: buildOutboundTcpLogs(mesh),
    clusterSpecifier: { case: 'cluster', value: cluster },
    idleTimeout: duration(traffic.idleTimeoutMs ?? limits.TCP_IDLE_TIMEOUT_MS),
    maxConnectAttempts: 1 + (traffic.retries?.attempts ?? limits.RETRIES),
  })
}

export function toTcpProxy(init: MessageInitShape<typeof TcpProxySchema>): Filter {
  return create(FilterSchema, {
    name: 'envoy.filters.network.tcp_proxy',
    configType: { case: 'typedConfig', value: pack(TcpProxySchema, init) },
  })
}
