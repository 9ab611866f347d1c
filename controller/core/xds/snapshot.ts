/**
 * Everything that one proxy is given, from the model: same workload, same mesh, same roots, same bytes (DESIGN §6).
 * Holds only what is the workload's own; its certificate and key are not here (the sidecar adds them).
 */
import { strict as assert } from 'node:assert'
import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { TYPE_URLS, type TypeUrl, type XdsResource, type XdsSnapshot } from '../../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../../common/xds-snapshot.ts'
import { ClusterSchema } from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import {
  type RouteConfiguration,
  RouteConfigurationSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { MeshSettings, OutboundPort, Workload } from '../model/mesh.ts'
import { checkSnapshot } from './check.ts'
import { buildAppCluster, buildServiceCluster } from './cluster.ts'
import { buildAssignment } from './endpoint.ts'
import { buildExtensionConfigs } from './extension-config.ts'
import { buildInboundListener } from './listener-inbound.ts'
import { buildOutboundListener } from './listener-outbound.ts'
import { serviceClusterName } from './names.ts'
import { buildServiceRoute } from './route.ts'
import { buildTrustBundleSecret } from './secret.ts'
import { buildInnerClusters, buildInnerListeners } from './server-first.ts'

export interface SnapshotParts {
  /** DER roots; at least one. */
  readonly trustBundle: readonly Uint8Array[]
}

export function buildSnapshot(
  workload: Workload,
  mesh: MeshSettings,
  parts: SnapshotParts,
): XdsSnapshot {
  const { inbound, outbound, policySet } = workload
  const services = distinctServices(outbound).map((port) => buildService(port, mesh))
  const resources = new Map<TypeUrl, readonly XdsResource[]>([
    [TYPE_URLS.secret, encode(SecretSchema, [buildTrustBundleSecret(parts.trustBundle)])],
    [
      TYPE_URLS.cluster,
      encode(ClusterSchema, [
        ...inbound.map(buildAppCluster),
        ...inbound.flatMap(buildInnerClusters),
        ...services.map(({ cluster }) => cluster),
      ]),
    ],
    [TYPE_URLS.endpoint, services.map(({ endpoints }) => endpoints)],
    [
      TYPE_URLS.extensionConfig,
      encode(
        TypedExtensionConfigSchema,
        inbound.flatMap((port) => buildExtensionConfigs(port, policySet)),
      ),
    ],
    [
      TYPE_URLS.listener,
      encode(ListenerSchema, [
        ...inbound.map((port) => buildInboundListener(port, mesh)),
        ...inbound.flatMap(buildInnerListeners),
        ...outbound.map(buildOutboundListener),
      ]),
    ],
    [TYPE_URLS.route, encode(RouteConfigurationSchema, buildRoutes(outbound))],
  ])
  const { requires } = policySet
  // A resource that leans on a newer sidecar or bootstrap adds its token here.
  const snapshot = { ...toXdsSnapshot(resources), ...(requires === undefined ? {} : { requires }) }
  const loose = checkSnapshot(snapshot)
  assert(loose.length === 0, `inconsistent snapshot: ${loose.join('; ')}`)
  return snapshot
}

function encode<D extends DescMessage>(
  schema: D,
  messages: readonly (MessageShape<D> & { readonly name: string })[],
): readonly XdsResource[] {
  return messages.map((message) => toXdsResource(message.name, toBinary(schema, message)))
}

/** The cluster of a destination, and its endpoints, which have its name. */
function buildService(port: OutboundPort, mesh: MeshSettings) {
  const cluster = buildServiceCluster(port, mesh)
  const { name } = cluster
  const assignment = buildAssignment(name, port.endpoints)
  const endpoints = toXdsResource(name, toBinary(ClusterLoadAssignmentSchema, assignment))
  return { cluster, endpoints }
}

function buildRoutes(outbound: readonly OutboundPort[]): RouteConfiguration[] {
  return distinctServices(outbound.filter(({ protocol }) => protocol !== 'TCP')).map(
    buildServiceRoute,
  )
}

/** One outbound port for each destination: two ports to one destination share its cluster. */
function distinctServices(outbound: readonly OutboundPort[]): readonly OutboundPort[] {
  const byName = new Map(outbound.map((port) => [serviceClusterName(port), port] as const))
  return [...byName.values()]
}
