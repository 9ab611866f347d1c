/**
 * Everything that one proxy is given, from the model: same workload, same mesh, same roots, same bytes (DESIGN §6).
 * Holds only what is the workload's own; its certificate and key are not here (the sidecar adds them).
 */
import { strict as assert } from 'node:assert'
import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { Feature } from '../../../common/features.ts'
import type { PolicySet } from '../../../common/policy-set.ts'
import { internBy, remember } from '../../../common/remember.ts'
import { TYPE_URLS, type TypeUrl, type XdsResource, type XdsSnapshot } from '../../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../../common/xds-snapshot.ts'
import { ClusterSchema } from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type {
  Capture,
  Destination,
  InboundCapture,
  InboundPort,
  MeshSettings,
  OutboundPort,
  Workload,
} from '../model/mesh.ts'
import { buildCapture } from './capture.ts'
import { buildCaptureClusters, buildInboundCapture, otherPort } from './capture-inbound.ts'
import { checkSnapshot } from './check.ts'
import { buildAppCluster, buildServiceCluster } from './cluster.ts'
import { buildAssignment } from './endpoint.ts'
import { buildExtensionConfigs } from './extension-config.ts'
import type { SlotForm } from './extension-slot.ts'
import { buildInboundListener } from './listener-inbound.ts'
import { buildOutboundListener } from './listener-outbound.ts'
import { isTcpChain, serviceClusterName, transportsOf } from './names.ts'
import { buildServiceRoute } from './route.ts'
import { buildTrustBundleSecret } from './secret.ts'
import { buildInnerClusters, buildInnerListeners } from './server-first.ts'

export interface SnapshotParts {
  /** DER roots; at least one. */
  readonly trustBundle: readonly Uint8Array[]
}

/**
 * Each resource is made of its own inputs and remembered with them: an edited policy makes the workload's rules anew,
 * not its listeners. Resources of equal bytes are one object, whichever workloads have them.
 */
export function buildSnapshot(
  workload: Workload,
  mesh: MeshSettings,
  parts: SnapshotParts,
): XdsSnapshot {
  const newest = build(workload, mesh, parts, ONE_SLOT)
  if (!workload.inbound.some(hasHttp)) return newest
  let made: XdsSnapshot | undefined
  const older = {
    lacking: 'authz/chain',
    get snapshot() {
      made ??= build(workload, mesh, parts, TWO_SLOTS)
      return made
    },
  }
  return { ...newest, older }
}

function hasHttp(port: InboundPort): boolean {
  return transportsOf(port).some((transport) => !isTcpChain(port, transport))
}

function build(
  workload: Workload,
  mesh: MeshSettings,
  parts: SnapshotParts,
  deciding: Deciding,
): XdsSnapshot {
  const { outbound, policySet, capture, namespace } = workload
  // OpenTelemetry's names: in traces a service is told from one of the same name by its namespace.
  const service = mesh.tracing === undefined ? '' : `${workload.service}.${namespace}`
  const { inbound, clusters, listeners } = buildInbound(workload, { mesh, service, deciding })
  const captured = capture === undefined ? NO_CAPTURE : captureOf(capture, namespace, mesh, service)
  const called = distinctServices([...outbound, ...captured.destinations])
  const services = called.map((port) => calledService(port, mesh))
  const resources = new Map<TypeUrl, readonly XdsResource[]>([
    [TYPE_URLS.secret, [trustBundleSecret(parts.trustBundle)]],
    [
      TYPE_URLS.cluster,
      [...clusters, ...services.map(({ cluster }) => cluster), ...captured.clusters],
    ],
    [TYPE_URLS.endpoint, services.map(({ endpoints }) => endpoints)],
    [
      TYPE_URLS.extensionConfig,
      inbound.flatMap((port) => deciding.extensionConfigs(port, policySet)),
    ],
    [
      TYPE_URLS.listener,
      [
        ...listeners,
        ...outbound.map((port) => outboundListener(port, mesh, service)),
        ...captured.listeners,
      ],
    ],
    [
      TYPE_URLS.route,
      distinct([...routedServices(outbound).map(serviceRoute), ...captured.routes]),
    ],
  ])
  const requires = requiredBy(workload, mesh)
  const snapshot = {
    ...toXdsSnapshot(resources),
    ...(requires.length === 0 ? {} : { requires }),
  }
  const loose = checkSnapshot(snapshot)
  assert(loose.length === 0, `inconsistent snapshot: ${loose.join('; ')}`)
  return snapshot
}

interface InboundParts {
  readonly mesh: MeshSettings
  readonly service: string
  readonly deciding: Deciding
}

/** Each port with a listener of its own, or all behind one, with the port that stands for all others. */
function buildInbound(
  { inbound, inboundCapture }: Workload,
  { mesh, service, deciding }: InboundParts,
) {
  const clusters = [...inbound.map(appCluster), ...inbound.flatMap(innerClusters)]
  const inner = inbound.flatMap((port) => innerListeners(port, mesh))
  if (inboundCapture === undefined) {
    const own = inbound.map((port) => deciding.inboundListener(port, mesh, service))
    return { inbound, clusters, listeners: [...own, ...inner] }
  }
  const other = otherOf(inboundCapture)
  const all = portsWith(inbound, other)
  const listener = deciding.inboundCaptureListener(inboundCapture, all, mesh, service)
  return {
    inbound: all,
    clusters: [...clusters, ...captureClusters(inboundCapture, other)],
    listeners: [listener, ...inner],
  }
}

/** What a sidecar must know; a resource that leans on a newer one, or on its bootstrap, adds its token here. */
function requiredBy({ inbound, policySet }: Workload, mesh: MeshSettings): readonly string[] {
  const ports: readonly Feature[] = inbound.some((p) => p.serverFirst) ? ['port/serverFirst'] : []
  const logs: readonly Feature[] = mesh.accessLog === 'All' ? ['log/outbound'] : []
  return [...new Set([...(policySet.requires ?? []), ...ports, ...logs])].sort()
}

const trustBundleSecret = remember((roots: readonly Uint8Array[]) =>
  encode(SecretSchema, buildTrustBundleSecret(roots)),
)
const appCluster = remember((port: InboundPort) => encode(ClusterSchema, buildAppCluster(port)))
const innerClusters = remember((port: InboundPort) =>
  buildInnerClusters(port).map((cluster) => encode(ClusterSchema, cluster)),
)
const innerListeners = remember((port: InboundPort, mesh: MeshSettings) =>
  buildInnerListeners(port, mesh).map((listener) => encode(ListenerSchema, listener)),
)
const calledService = remember(buildService)
const otherOf = remember((inboundCapture: InboundCapture) =>
  otherPort(inboundCapture, inboundCapture.appAddress),
)
const portsWith = remember((inbound: readonly InboundPort[], other: InboundPort) => [
  ...inbound,
  other,
])
const captureClusters = remember((inboundCapture: InboundCapture, other: InboundPort) =>
  buildCaptureClusters(inboundCapture, other).map((cluster) => encode(ClusterSchema, cluster)),
)
/** What stands in inbound chains to decide. */
function deciding(form: SlotForm) {
  return {
    extensionConfigs: remember((port: InboundPort, set: PolicySet) =>
      buildExtensionConfigs(port, set, form).map((c) => encode(TypedExtensionConfigSchema, c)),
    ),
    inboundListener: remember((port: InboundPort, mesh: MeshSettings, service: string) =>
      encode(ListenerSchema, buildInboundListener(port, mesh, { service, form })),
    ),
    inboundCaptureListener: remember(
      (
        inboundCapture: InboundCapture,
        ports: readonly InboundPort[],
        mesh: MeshSettings,
        service: string,
      ) =>
        encode(ListenerSchema, buildInboundCapture(inboundCapture, ports, { mesh, service, form })),
    ),
  }
}
type Deciding = ReturnType<typeof deciding>
const ONE_SLOT = deciding('one-slot')
const TWO_SLOTS = deciding('two-slots')
const serviceRoute = remember((port: OutboundPort) =>
  encode(RouteConfigurationSchema, buildServiceRoute(port)),
)
const outboundListener = remember((port: OutboundPort, mesh: MeshSettings, service: string) =>
  encode(ListenerSchema, buildOutboundListener(port, mesh, service)),
)

/** What is made of a capture, encoded. */
const captureOf = remember(
  (capture: Capture, namespace: string, mesh: MeshSettings, service: string) => {
    const { destinations, listeners, clusters, routes } = buildCapture(capture, namespace, {
      mesh,
      service,
    })
    return {
      destinations,
      listeners: listeners.map((listener) => encode(ListenerSchema, listener)),
      clusters: clusters.map((cluster) => encode(ClusterSchema, cluster)),
      routes: routes.map((route) => encode(RouteConfigurationSchema, route)),
    }
  },
)
const NO_CAPTURE: ReturnType<typeof captureOf> = {
  destinations: [],
  listeners: [],
  clusters: [],
  routes: [],
}

const intern = internBy(({ name, version }: XdsResource) => `${version} ${name}`)

function encode<D extends DescMessage>(
  schema: D,
  message: MessageShape<D> & { readonly name: string },
): XdsResource {
  return intern(toXdsResource(message.name, toBinary(schema, message)))
}

/** The cluster of a destination, and its endpoints, which have its name. */
function buildService(port: Destination, mesh: MeshSettings) {
  const cluster = buildServiceCluster(port, mesh)
  const { name } = cluster
  const bytes = toBinary(ClusterLoadAssignmentSchema, buildAssignment(name, port.endpoints))
  return { cluster: encode(ClusterSchema, cluster), endpoints: intern(toXdsResource(name, bytes)) }
}

function routedServices(outbound: readonly OutboundPort[]): readonly OutboundPort[] {
  return distinctServices(outbound.filter(({ protocol }) => protocol !== 'TCP'))
}

/** One outbound port for each destination: two ports to one destination share its cluster. */
function distinctServices<D extends Destination>(outbound: readonly D[]): readonly D[] {
  const byName = new Map(outbound.map((port) => [serviceClusterName(port), port] as const))
  return [...byName.values()]
}

/** An outbound port and a capture may need the same routes: those to one service. */
function distinct(resources: readonly XdsResource[]): readonly XdsResource[] {
  return [...new Map(resources.map((resource) => [resource.name, resource] as const)).values()]
}
