/**
 * Envoy's bootstrap: who it is, where its admin socket is, and that everything else comes from this sidecar.
 * In: paths and the per-start secret. Out: JSON text for `envoy -c`. No listener stands here: without the sidecar's
 * xDS nothing passes. The text holds the secret: mode 0600, in the run directory only.
 * Source: envoy/config/bootstrap/v3/bootstrap.proto.
 */
import { create, createRegistry, type MessageInitShape, toJson } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import type { Secret } from '../../../common/secret.ts'
import { BootstrapSchema } from '../../../proto/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import {
  Cluster_DiscoveryType,
  type ClusterSchema,
} from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import {
  ApiConfigSource_ApiType,
  ApiVersion,
} from '../../../proto/gen/envoy/config/core/v3/config_source_pb.js'
import { InternalListenerSchema } from '../../../proto/gen/envoy/extensions/bootstrap/internal_listener/v3/internal_listener_pb.js'
import { DownstreamConnectionsConfigSchema } from '../../../proto/gen/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.js'
import { FixedHeapConfigSchema } from '../../../proto/gen/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.js'
import { HttpProtocolOptionsSchema } from '../../../proto/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { buildOverload, type OverloadLimits } from './overload.ts'

/** gRPC metadata that Envoy's ADS stream carries; DESIGN §2. */
export const SECRET_HEADER = 'x-postern-secret'

/** Names of the static clusters; listeners that the controller builds refer to the last two. */
export const SIDECAR_CLUSTER = 'postern_sidecar'
export const AUTHZ_CLUSTER = 'postern_authz'
export const ALS_CLUSTER = 'postern_als'

export interface RunPaths {
  readonly bootstrap: string
  readonly adminSocket: string
  /** ADS and access log. */
  readonly xdsSocket: string
  /** ext_authz; the check worker's. */
  readonly authzSocket: string
}

export interface BootstrapOptions extends OverloadLimits {
  readonly nodeId: string
  /** `namespace/name`; Envoy's node.cluster, seen in its stats and logs. */
  readonly workload: string
  readonly paths: RunPaths
  readonly secret: Secret<string>
}

/** `sun_path` is 108 bytes with the final zero (Linux unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107

const CONNECT_TIMEOUT = { seconds: 1n }
/** Requests in flight to a local socket; Envoy's default of 1024 would turn a burst of checks into denials. */
const MAX_LOCAL_REQUESTS = 65_536
const OWNER_ONLY = 0o600

export function runPaths(runDir: string): RunPaths {
  return {
    bootstrap: `${runDir}/bootstrap.json`,
    adminSocket: `${runDir}/admin.sock`,
    xdsSocket: `${runDir}/xds.sock`,
    authzSocket: `${runDir}/authz.sock`,
  }
}

/** The first socket path that is too long for the kernel, if any. */
export function tooLongSocketPath(paths: RunPaths): string | undefined {
  return [paths.adminSocket, paths.xdsSocket, paths.authzSocket].find(
    (path) => Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES,
  )
}

export function buildBootstrap(options: BootstrapOptions): string {
  const { paths } = options
  const message = create(BootstrapSchema, {
    node: { id: options.nodeId, cluster: options.workload },
    admin: {
      address: pipe(paths.adminSocket, OWNER_ONLY),
      ignoreGlobalConnLimit: true,
    },
    // Listeners that only other listeners of this Envoy can call: those of server-first ports are made of them.
    bootstrapExtensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typedConfig: anyPack(InternalListenerSchema, create(InternalListenerSchema)),
      },
    ],
    staticResources: {
      clusters: [
        localCluster(SIDECAR_CLUSTER, paths.xdsSocket),
        localCluster(AUTHZ_CLUSTER, paths.authzSocket),
        localCluster(ALS_CLUSTER, paths.xdsSocket),
      ],
    },
    dynamicResources: {
      adsConfig: {
        apiType: ApiConfigSource_ApiType.DELTA_GRPC,
        transportApiVersion: ApiVersion.V3,
        setNodeOnFirstMessageOnly: true,
        grpcServices: [
          {
            targetSpecifier: { case: 'envoyGrpc', value: { clusterName: SIDECAR_CLUSTER } },
            initialMetadata: [{ key: SECRET_HEADER, value: options.secret.reveal() }],
          },
        ],
      },
      cdsConfig: ads(),
      ldsConfig: ads(),
    },
    overloadManager: buildOverload(options),
  })
  const registry = createRegistry(
    BootstrapSchema,
    DownstreamConnectionsConfigSchema,
    FixedHeapConfigSchema,
    HttpProtocolOptionsSchema,
    InternalListenerSchema,
  )
  return `${JSON.stringify(toJson(BootstrapSchema, message, { registry }), undefined, 2)}\n`
}

function localCluster(name: string, path: string): MessageInitShape<typeof ClusterSchema> {
  const http2 = create(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: 'explicitHttpConfig',
      value: { protocolConfig: { case: 'http2ProtocolOptions', value: {} } },
    },
  })
  return {
    name,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    connectTimeout: CONNECT_TIMEOUT,
    loadAssignment: {
      clusterName: name,
      endpoints: [
        {
          lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: { address: pipe(path) } } }],
        },
      ],
    },
    circuitBreakers: {
      thresholds: [
        {
          maxRequests: MAX_LOCAL_REQUESTS,
          maxPendingRequests: MAX_LOCAL_REQUESTS,
        },
      ],
    },
    typedExtensionProtocolOptions: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': anyPack(
        HttpProtocolOptionsSchema,
        http2,
      ),
    },
  }
}

function pipe(path: string, mode?: number) {
  const value = mode === undefined ? { path } : { path, mode }
  return { address: { case: 'pipe' as const, value } }
}

function ads() {
  return {
    resourceApiVersion: ApiVersion.V3,
    configSourceSpecifier: { case: 'ads' as const, value: {} },
  }
}
