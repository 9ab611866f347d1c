/**
 * Whether a snapshot holds together, before it is published: a name that leads nowhere would leave a listener warming
 * for ever or a route answering 503. In: a snapshot. Out: what is wrong, as lines; empty when nothing is.
 * Whatever it finds is a bug of the builders, not a mistake of the user. After go-control-plane's `Consistent()`.
 */
import { fromBinary } from '@bufbuild/protobuf'
import { type Any, anyUnpack } from '@bufbuild/protobuf/wkt'
import { remember } from '../../../common/remember.ts'
import {
  SECRET_SVID,
  TYPE_URLS,
  type TypeUrl,
  type XdsResource,
  type XdsSnapshot,
} from '../../../common/xds.ts'
import {
  type Cluster,
  ClusterSchema,
} from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import {
  type RouteConfiguration,
  RouteConfigurationSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { TcpProxySchema } from '../../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import {
  type CommonTlsContext,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'

/** Names that resources refer to, by the type of what is meant. */
type References = Map<TypeUrl, Set<string>>

export function checkSnapshot(snapshot: XdsSnapshot): readonly string[] {
  const references: References = new Map()
  for (const [typeUrl, read] of REFERRING) {
    for (const resource of snapshot.resources.get(typeUrl)?.values() ?? []) {
      for (const [type, names] of read(resource)) {
        for (const name of names) refer(references, type, name)
      }
    }
  }
  // Every cluster is reached by a listener, so names must agree both ways; only secrets may be there for nobody.
  return [
    ...findMissing(snapshot, references),
    ...USED_TYPES.flatMap((typeUrl) => findUnused(snapshot, typeUrl, references)),
  ]
}

const referencesOfListener = remember((resource: XdsResource): References => {
  const references: References = new Map()
  for (const chain of fromBinary(ListenerSchema, resource.value).filterChains) {
    for (const filter of chain.filters) readFilter(filter, references)
    readTls(chain.transportSocket?.configType.value, references)
  }
  return references
})

const referencesOfCluster = remember((resource: XdsResource): References => {
  const references: References = new Map()
  const cluster = fromBinary(ClusterSchema, resource.value)
  if (cluster.edsClusterConfig !== undefined) {
    refer(references, TYPE_URLS.endpoint, cluster.edsClusterConfig.serviceName || cluster.name)
  }
  readTls(cluster.transportSocket?.configType.value, references)
  for (const name of innerListenersOf(cluster)) refer(references, TYPE_URLS.listener, name)
  return references
})

const referencesOfRoutes = remember((resource: XdsResource): References => {
  const references: References = new Map()
  readRoutes(fromBinary(RouteConfigurationSchema, resource.value), references)
  return references
})

const REFERRING = [
  [TYPE_URLS.listener, referencesOfListener],
  [TYPE_URLS.route, referencesOfRoutes],
  [TYPE_URLS.cluster, referencesOfCluster],
] as const

/** Internal listeners that a cluster's endpoints are. */
function innerListenersOf(cluster: Cluster): readonly string[] {
  const endpoints = cluster.loadAssignment?.endpoints.flatMap((e) => e.lbEndpoints) ?? []
  return endpoints.flatMap(({ hostIdentifier }) => {
    const address =
      hostIdentifier.case === 'endpoint' ? hostIdentifier.value.address?.address : undefined
    return address?.case === 'envoyInternalAddress'
      ? [address.value.addressNameSpecifier.value ?? '']
      : []
  })
}

const USED_TYPES = [
  TYPE_URLS.cluster,
  TYPE_URLS.endpoint,
  TYPE_URLS.extensionConfig,
  TYPE_URLS.route,
]

interface FilterLike {
  readonly name: string
  readonly configType: { readonly case?: string | undefined; readonly value?: unknown }
}

function readFilter(filter: FilterLike, references: References): void {
  const { configType } = filter
  if (configType.case === 'configDiscovery') {
    refer(references, TYPE_URLS.extensionConfig, filter.name)
  }
  if (configType.case !== 'typedConfig') return
  const any = configType.value as Any
  const tcp = anyUnpack(any, TcpProxySchema)
  if (tcp?.clusterSpecifier.case === 'cluster') {
    refer(references, TYPE_URLS.cluster, tcp.clusterSpecifier.value)
  }
  const http = anyUnpack(any, HttpConnectionManagerSchema)
  for (const inner of http?.httpFilters ?? []) readFilter(inner, references)
  const routes = http?.routeSpecifier
  if (routes?.case === 'rds') refer(references, TYPE_URLS.route, routes.value.routeConfigName)
  if (routes?.case === 'routeConfig') readRoutes(routes.value, references)
}

function readRoutes({ virtualHosts }: RouteConfiguration, references: References): void {
  const routes = virtualHosts.flatMap((host) => host.routes)
  for (const { action } of routes) {
    const target = action.case === 'route' ? action.value.clusterSpecifier : undefined
    if (target?.case === 'cluster') refer(references, TYPE_URLS.cluster, target.value)
  }
}

function readTls(any: Any | undefined, references: References): void {
  if (any === undefined) return
  const context: CommonTlsContext | undefined =
    anyUnpack(any, DownstreamTlsContextSchema)?.commonTlsContext ??
    anyUnpack(any, UpstreamTlsContextSchema)?.commonTlsContext
  for (const { name } of context?.tlsCertificateSdsSecretConfigs ?? []) {
    refer(references, TYPE_URLS.secret, name)
  }
  const validation = context?.validationContextType
  if (validation?.case === 'validationContextSdsSecretConfig')
    refer(references, TYPE_URLS.secret, validation.value.name)
  if (validation?.case !== 'combinedValidationContext') return
  const name = validation.value.validationContextSdsSecretConfig?.name
  if (name !== undefined) refer(references, TYPE_URLS.secret, name)
}

function refer(references: References, typeUrl: TypeUrl, name: string): void {
  const names = references.get(typeUrl) ?? new Set<string>()
  references.set(typeUrl, names.add(name))
}

function findMissing(snapshot: XdsSnapshot, references: References): readonly string[] {
  return [...references].flatMap(([typeUrl, names]) =>
    [...names]
      .filter((name) => !isThere(snapshot, typeUrl, name))
      .map((name) => `${shortName(typeUrl)} ${name} is referred to, but not there`),
  )
}

/** The workload's own certificate is added by the sidecar. */
function isThere(snapshot: XdsSnapshot, typeUrl: TypeUrl, name: string): boolean {
  if (typeUrl === TYPE_URLS.secret && name === SECRET_SVID) return true
  return snapshot.resources.get(typeUrl)?.has(name) === true
}

function findUnused(
  snapshot: XdsSnapshot,
  typeUrl: TypeUrl,
  references: References,
): readonly string[] {
  const names = [...(snapshot.resources.get(typeUrl)?.keys() ?? [])]
  return names
    .filter((name) => references.get(typeUrl)?.has(name) !== true)
    .map((name) => `${shortName(typeUrl)} ${name} is there, but nothing refers to it`)
}

function shortName(typeUrl: TypeUrl): string {
  return typeUrl.slice(typeUrl.lastIndexOf('.') + 1)
}
