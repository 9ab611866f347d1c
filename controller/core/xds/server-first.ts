/**
 * TCP ports whose server speaks first: decided before the app sees the connection, by the same rules in the same slot.
 * Envoy's network RBAC decides on the first byte, and a client that waits for a greeting sends none. So the chain of
 * the port (after the handshake) calls an internal listener, says who the peer is by filter state, and sends a PROXY
 * header: those bytes are what RBAC decides on. Who is admitted goes on to a second internal listener, which takes the
 * header off and calls the app. All three are in one Envoy's memory; no socket leads into the inner two.
 *
 *   client ──▶ inbound/P ──▶ decide/P/tls: RBAC ──▶ admit/P ──▶ app
 *              TLS, who?     PROXY header = 1st byte  header off
 */
import { create } from '@bufbuild/protobuf'
import { PEER_STATE } from '../../../common/xds.ts'
import {
  type Cluster,
  Cluster_DiscoveryType,
  ClusterSchema,
} from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import {
  type TransportSocket,
  TransportSocketSchema,
} from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import { ProxyProtocolConfig_Version } from '../../../proto/gen/envoy/config/core/v3/proxy_protocol_pb.js'
import {
  type Filter,
  FilterSchema,
  ListenerFilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type Listener,
  Listener_InternalListenerConfigSchema,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import {
  type FilterStateValue,
  FilterStateValue_SharedWithUpstream,
  FilterStateValueSchema,
} from '../../../proto/gen/envoy/extensions/filters/common/set_filter_state/v3/value_pb.js'
import { ProxyProtocolSchema } from '../../../proto/gen/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.js'
import { ConfigSchema as SetFilterStateSchema } from '../../../proto/gen/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.js'
import { UpstreamConnectMode } from '../../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import { InternalUpstreamTransportSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream_pb.js'
import { ProxyProtocolUpstreamTransportSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.js'
import { RawBufferSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import type { InboundPort, MeshSettings } from '../model/mesh.ts'
import { buildPeerStateAccessLog } from './access-log.ts'
import { buildCommon } from './cluster.ts'
import { duration, pack } from './encode.ts'
import { buildNetworkRbacSlot } from './extension-slot.ts'
import * as limits from './limits.ts'
import { admitName, appClusterName, decidedAtOnce, decideName, type Transport } from './names.ts'
import { buildTcpLife, toTcpProxy } from './tcp-proxy.ts'

/** The chain that callers reach: it says who they are, and asks. */
export function buildServerFirstChain(
  port: InboundPort,
  transport: Transport,
  mesh: MeshSettings,
): Filter[] {
  const name = decideName(port.port, transport)
  // Before the handshake is done nobody knows who the peer is; plaintext has no handshake to wait for.
  const upstreamConnectMode =
    transport === 'tls'
      ? UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE
      : UpstreamConnectMode.IMMEDIATE
  return [
    buildPeerState(port, transport),
    toTcpProxy({
      statPrefix: `inbound/${port.port}/${transport}`,
      clusterSpecifier: { case: 'cluster', value: name },
      upstreamConnectMode,
      ...(transport === 'tls' ? { maxEarlyDataBytes: limits.CONNECTION_BUFFER_BYTES } : {}),
      ...buildTcpLife(transport, mesh),
    }),
  ]
}

/** The internal listeners of a server-first port; none for others. */
export function buildInnerListeners(port: InboundPort, mesh: MeshSettings): readonly Listener[] {
  if (!port.serverFirst) return []
  const decide = decidedAtOnce(port).map((transport) =>
    buildInternal(decideName(port.port, transport), [
      buildNetworkRbacSlot(port.port, transport),
      toTcpProxy({
        ...goOn(decideName(port.port, transport), admitName(port.port)),
        upstreamConnectMode: UpstreamConnectMode.ON_DOWNSTREAM_DATA,
        maxEarlyDataBytes: limits.CONNECTION_BUFFER_BYTES,
        accessLog: [buildPeerStateAccessLog(mesh)],
      }),
    ]),
  )
  const admit = buildInternal(admitName(port.port), [
    toTcpProxy(goOn(admitName(port.port), appClusterName(port))),
  ])
  const takeHeaderOff = create(ListenerFilterSchema, {
    name: 'envoy.filters.listener.proxy_protocol',
    configType: { case: 'typedConfig', value: pack(ProxyProtocolSchema, {}) },
  })
  return [...decide, { ...admit, listenerFilters: [takeHeaderOff] }]
}

/** The clusters that lead to the internal listeners. */
export function buildInnerClusters(port: InboundPort): readonly Cluster[] {
  if (!port.serverFirst) return []
  const raw = buildSocket('envoy.transport_sockets.raw_buffer', pack(RawBufferSchema, {}))
  const withHeader = buildSocket(
    'envoy.transport_sockets.upstream_proxy_protocol',
    pack(ProxyProtocolUpstreamTransportSchema, {
      config: { version: ProxyProtocolConfig_Version.V2 },
      transportSocket: raw,
    }),
  )
  return [
    ...decidedAtOnce(port).map((t) => buildCluster(decideName(port.port, t), withHeader)),
    buildCluster(admitName(port.port), raw),
  ]
}

/** Idle time and life are the outer connection's matter: the inner ones end with it. */
function goOn(name: string, cluster: string) {
  return {
    statPrefix: name,
    clusterSpecifier: { case: 'cluster', value: cluster },
    idleTimeout: duration(0),
  } as const
}

function buildInternal(name: string, filters: Filter[]): Listener {
  return create(ListenerSchema, {
    name,
    listenerSpecifier: {
      case: 'internalListener',
      value: create(Listener_InternalListenerConfigSchema),
    },
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    // Its connections were counted when they came from outside.
    ignoreGlobalConnLimit: true,
    filterChains: [{ name: 'inner', filters }],
  })
}

function buildCluster(name: string, socket: TransportSocket): Cluster {
  const endpoint = {
    address: {
      address: {
        case: 'envoyInternalAddress',
        value: { addressNameSpecifier: { case: 'serverListenerName', value: name } },
      },
    },
  } as const
  return create(ClusterSchema, {
    ...buildCommon(name),
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    loadAssignment: {
      clusterName: name,
      endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: endpoint } }] }],
    },
    transportSocket: buildSocket(
      'envoy.transport_sockets.internal_upstream',
      pack(InternalUpstreamTransportSchema, { transportSocket: socket }),
    ),
  })
}

function buildSocket(name: string, value: ReturnType<typeof pack>): TransportSocket {
  return create(TransportSocketSchema, { name, configType: { case: 'typedConfig', value } })
}

/** What the inner listener's rules and log read. Absent is absent: no text stands for "no certificate". */
function buildPeerState(port: InboundPort, transport: Transport): Filter {
  const values = [
    ...(transport === 'tls' ? [toState(PEER_STATE.uriSan, '%DOWNSTREAM_PEER_URI_SAN%')] : []),
    toState(PEER_STATE.address, '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%'),
    toState(PEER_STATE.socket, '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%'),
    toState(PEER_STATE.port, String(port.port)),
  ]
  return create(FilterSchema, {
    name: 'envoy.filters.network.set_filter_state',
    configType: {
      case: 'typedConfig',
      value: pack(SetFilterStateSchema, { onDownstreamTlsHandshake: values }),
    },
  })
}

function toState(key: string, format: string): FilterStateValue {
  return create(FilterStateValueSchema, {
    key: { case: 'objectKey', value: key },
    factoryKey: 'envoy.string',
    value: {
      case: 'formatString',
      value: {
        format: {
          case: 'textFormatSource',
          value: { specifier: { case: 'inlineString', value: format } },
        },
        omitEmptyValues: true,
      },
    },
    sharedWithUpstream: FilterStateValue_SharedWithUpstream.ONCE,
    skipIfEmpty: true,
  })
}
