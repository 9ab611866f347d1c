/**
 * A static Envoy bootstrap out of dynamic resources, so that `envoy --mode validate` parses every byte of them.
 * In: proto3 JSON of a snapshot's resources. Out: bootstrap JSON in which ECDS, SDS, EDS and RDS are replaced by what they
 * would have delivered. A reference to nothing throws.
 */
import type { JsonObject, JsonValue } from '@bufbuild/protobuf'

export interface StaticParts {
  readonly listeners: readonly JsonValue[]
  readonly routes: readonly JsonValue[]
  readonly clusters: readonly JsonValue[]
  readonly endpoints: readonly JsonValue[]
  readonly extensions: readonly JsonValue[]
  readonly secrets: readonly JsonValue[]
}

/** The sidecar's own clusters, as its bootstrap has them. */
const SIDECAR_CLUSTERS = ['postern_authz', 'postern_als', 'postern_sidecar']

/** As the sidecar's bootstrap has it. */
const INTERNAL_LISTENERS = {
  name: 'envoy.bootstrap.internal_listener',
  typedConfig: {
    '@type': 'type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener',
  },
}

/** Everything in place. `pipes` holds the sockets of the sidecar's clusters, by name; others lead nowhere. */
export function toStaticBootstrap(
  parts: StaticParts,
  pipes: Readonly<Record<string, string>> = {},
): JsonObject {
  const extensions = byName(parts.extensions, 'name')
  const endpoints = byName(parts.endpoints, 'clusterName')
  const routes = byName(parts.routes, 'name')
  return {
    node: { id: 'shop/test/uid', cluster: 'test' },
    bootstrapExtensions: [INTERNAL_LISTENERS],
    staticResources: {
      listeners: parts.listeners.map((l) =>
        rewrite(l, [inlineExtension(extensions), inlineSecret, inlineRoutes(routes)]),
      ),
      clusters: [
        ...parts.clusters.map((c) => rewrite(c, [inlineEndpoints(endpoints), inlineSecret])),
        ...SIDECAR_CLUSTERS.map((name) => toPipeCluster(name, pipes[name] ?? '/nowhere')),
      ],
      secrets: [...parts.secrets],
    },
  }
}

/** Listeners and clusters as they are published, with an ADS stream that everything they refer to would come by. */
export function toDynamicBootstrap(
  parts: StaticParts,
  pipes: Readonly<Record<string, string>> = {},
): JsonObject {
  return {
    node: { id: 'shop/test/uid', cluster: 'test' },
    bootstrapExtensions: [INTERNAL_LISTENERS],
    dynamicResources: {
      adsConfig: {
        apiType: 'DELTA_GRPC',
        transportApiVersion: 'V3',
        grpcServices: [{ envoyGrpc: { clusterName: 'postern_sidecar' } }],
      },
    },
    staticResources: {
      listeners: [...parts.listeners],
      clusters: [
        ...SIDECAR_CLUSTERS.map((name) => toPipeCluster(name, pipes[name] ?? '/nowhere')),
        ...parts.clusters.map((c) => rewrite(c, isOriginalDst(c) ? [inlineSecret] : [])),
      ],
      ...(parts.clusters.some(isOriginalDst) ? { secrets: [...parts.secrets] } : {}),
    },
  }
}

/** Envoy 1.40 crashes on these when it only validates and their secrets have yet to come; when it runs it does not. */
function isOriginalDst(cluster: JsonValue): boolean {
  return (cluster as JsonObject).type === 'ORIGINAL_DST'
}

type Rewrite = (object: JsonObject) => JsonObject

/** Applies all rewrites to every object of a tree, leaves first. */
export function rewrite(value: JsonValue, rewrites: readonly Rewrite[]): JsonValue {
  if (Array.isArray(value)) return value.map((item) => rewrite(item, rewrites))
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).map(([key, v]) => [key, rewrite(v, rewrites)] as const)
  return rewrites.reduce<JsonObject>((object, f) => f(object), Object.fromEntries(entries))
}

/** `{name, configDiscovery}` → `{name, typedConfig}`. */
function inlineExtension(extensions: ReadonlyMap<string, JsonObject>): Rewrite {
  return (object) => {
    if (object.configDiscovery === undefined) return object
    const { configDiscovery: _, ...rest } = object
    const typedConfig = lookUp(extensions, String(object.name)).typedConfig
    return typedConfig === undefined ? rest : { ...rest, typedConfig }
  }
}

/** `{name, sdsConfig}` → `{name}`: a secret of the bootstrap itself. */
function inlineSecret(object: JsonObject): JsonObject {
  const { sdsConfig: _, ...rest } = object
  return rest
}

function inlineEndpoints(endpoints: ReadonlyMap<string, JsonObject>): Rewrite {
  return (object) => {
    if (object.type !== 'EDS') return object
    const { edsClusterConfig, ...rest } = object
    const name = String((edsClusterConfig as JsonObject).serviceName ?? object.name)
    return { ...rest, type: 'STATIC', loadAssignment: lookUp(endpoints, name) }
  }
}

/** `{rds}` → `{routeConfig}`. */
function inlineRoutes(routes: ReadonlyMap<string, JsonObject>): Rewrite {
  return (object) => {
    if (object.rds === undefined) return object
    const { rds, ...rest } = object
    return { ...rest, routeConfig: lookUp(routes, String((rds as JsonObject).routeConfigName)) }
  }
}

function toPipeCluster(name: string, path: string): JsonObject {
  return {
    name,
    type: 'STATIC',
    connectTimeout: '1s',
    loadAssignment: {
      clusterName: name,
      endpoints: [{ lbEndpoints: [{ endpoint: { address: { pipe: { path } } } }] }],
    },
    typedExtensionProtocolOptions: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicitHttpConfig: { http2ProtocolOptions: {} },
      },
    },
  }
}

function byName(list: readonly JsonValue[], key: string): ReadonlyMap<string, JsonObject> {
  return new Map(list.map((item) => [String((item as JsonObject)[key]), item as JsonObject]))
}

function lookUp(map: ReadonlyMap<string, JsonObject>, name: string): JsonObject {
  const found = map.get(name)
  if (found === undefined) throw new Error(`nothing is named ${name}`)
  return found
}
