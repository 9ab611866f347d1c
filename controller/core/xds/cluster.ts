/**
 * Clusters: the app behind an inbound port (one fixed address, plaintext) and the destination of an outbound port
 * (endpoints by EDS, mTLS with pinned server ids).
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import {
  BindConfigSchema,
  SocketAddressSchema,
} from '../../../proto/gen/envoy/config/core/v3/address_pb.js'
import { HttpProtocolOptionsSchema } from '../../../proto/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import type { Destination, InboundPort, MeshSettings } from '../model/mesh.ts'
import type { BackendTraffic } from '../model/traffic.ts'
import { directName, plainDirectName } from './capture-names.ts'
import { buildCircuitBreakers, buildOutlierDetection } from './circuit-breaker.ts'
import { duration, fromAds, pack } from './encode.ts'
import { buildAssignment } from './endpoint.ts'
import { buildHttp2Options } from './http2.ts'
import * as limits from './limits.ts'
import { appClusterName, serviceClusterName } from './names.ts'
import { buildPlaintextMatches, buildUpstreamTls } from './tls.ts'

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/** The app speaks what the port's protocol says, whatever the caller's connection is. */
export function buildAppCluster(port: InboundPort): Cluster {
  const name = appClusterName(port)
  const app = { address: port.appAddress, port: port.appPort }
  return create(ClusterSchema, {
    ...buildCommon(name),
    ...buildAppSource(port.appSource),
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    loadAssignment: buildAssignment(name, [app]),
    typedExtensionProtocolOptions: { [HTTP_OPTIONS]: buildAppProtocol(port) },
  })
}

/** The address that an app sees its proxy come from. */
export function buildAppSource(address: string | undefined) {
  if (address === undefined) return {}
  const sourceAddress = create(SocketAddressSchema, {
    address,
    portSpecifier: { case: 'portValue', value: 0 },
  })
  return { upstreamBindConfig: create(BindConfigSchema, { sourceAddress }) }
}

/**
 * Towards a service, any of its endpoints. They have its name; a changed cluster warms until they are sent again
 * (common/delta-xds sees to it).
 */
export function buildServiceCluster(port: Destination, mesh: MeshSettings): Cluster {
  const name = serviceClusterName(port)
  return create(ClusterSchema, {
    ...buildTowards(name, port, mesh),
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: fromAds() },
    lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
    transportSocketMatches: buildPlaintextMatches(),
  })
}

/** Towards the one endpoint of a service that a captured connection was meant for. */
export function buildDirectCluster(port: Destination, mesh: MeshSettings): Cluster {
  return create(ClusterSchema, { ...buildTowards(directName(port), port, mesh), ...TO_ORIGINAL })
}

/** The same, for endpoints that take plaintext only: no TLS, so nobody is checked and nobody is named. */
export function buildPlainDirectCluster(port: Destination, mesh: MeshSettings): Cluster {
  const { transportSocket: _, ...rest } = buildTowards(plainDirectName(port), port, mesh)
  return create(ClusterSchema, { ...rest, ...TO_ORIGINAL })
}

/** Where a captured connection was meant to go, as it is. */
export function buildPassedCluster(name: string): Cluster {
  return create(ClusterSchema, {
    ...buildCommon(name),
    ...TO_ORIGINAL,
    typedExtensionProtocolOptions: { [HTTP_OPTIONS]: buildCallersProtocol({}) },
  })
}

/** Nowhere. */
export function buildBlockedCluster(name: string): Cluster {
  return create(ClusterSchema, {
    name,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    loadAssignment: { clusterName: name },
  })
}

const TO_ORIGINAL = {
  clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
  lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
} as const

function buildTowards(name: string, port: Destination, mesh: MeshSettings) {
  const lifeMs = mesh.svidLifetimeSeconds * 1000 * limits.OUTBOUND_CONNECTION_LIFE_SHARE
  return {
    ...buildCommon(name, port.traffic),
    ...buildOutlier(port.traffic),
    transportSocket: buildUpstreamTls(port, mesh),
    typedExtensionProtocolOptions: {
      [HTTP_OPTIONS]: buildCallersProtocol({
        idleTimeout: duration(idleTimeoutOf(port.traffic)),
        maxConnectionDuration: duration(lifeMs),
      }),
    },
  }
}

/** The protocol is the one of the app's own connection: HTTP/1.1 stays so, gRPC stays HTTP/2. */
function buildCallersProtocol(
  commonHttpProtocolOptions: MessageInitShape<
    typeof HttpProtocolOptionsSchema
  >['commonHttpProtocolOptions'] & {},
): Any {
  return pack(HttpProtocolOptionsSchema, {
    commonHttpProtocolOptions,
    upstreamProtocolOptions: {
      case: 'useDownstreamProtocolConfig',
      value: { httpProtocolOptions: {}, http2ProtocolOptions: buildHttp2Options() },
    },
  })
}

/** What every cluster has. */
export function buildCommon(name: string, traffic?: BackendTraffic) {
  return {
    name,
    connectTimeout: duration(traffic?.connectTimeoutMs ?? limits.CONNECT_TIMEOUT_MS),
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    circuitBreakers: buildCircuitBreakers(traffic),
  }
}

/** Were more out than may be (others have gone since), all are used again: Envoy's panic. */
function buildOutlier(traffic?: BackendTraffic) {
  const settings = traffic?.outlierDetection
  if (settings === undefined) return {}
  return {
    outlierDetection: buildOutlierDetection(settings),
    commonLbConfig: { healthyPanicThreshold: { value: 100 - settings.maxEjectionPercent } },
  }
}

/** The client's end of a connection closes first, so that no request meets a closing server. */
function idleTimeoutOf(traffic?: BackendTraffic): number {
  const server = traffic?.limits?.idleTimeoutMs ?? limits.INBOUND_IDLE_TIMEOUT_MS
  return Math.min(limits.OUTBOUND_IDLE_TIMEOUT_MS, server / 2)
}

function buildAppProtocol(port: InboundPort): Any {
  const isHttp2 = port.protocol === 'HTTP2' || port.protocol === 'GRPC'
  return pack(HttpProtocolOptionsSchema, {
    commonHttpProtocolOptions: {
      idleTimeout: duration(
        isHttp2 ? limits.OUTBOUND_IDLE_TIMEOUT_MS : limits.APP_HTTP1_IDLE_TIMEOUT_MS,
      ),
    },
    upstreamProtocolOptions: {
      case: 'explicitHttpConfig',
      value: {
        protocolConfig: isHttp2
          ? { case: 'http2ProtocolOptions', value: buildHttp2Options() }
          : { case: 'httpProtocolOptions', value: {} },
      },
    },
  })
}
