/**
 * One Envoy with a listener for each way to decide about the same rules: nothing; the slot and the resource in it, as a
 * workload has them, by ECDS; and the flat RBAC list that other meshes write.
 * In: listeners, and a folder for what ECDS delivers. Out: bootstrap JSON.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createRegistry, type JsonObject, type Message, toJson } from '@bufbuild/protobuf'
import type { GenMessage } from '@bufbuild/protobuf/codegenv2'
import type { PolicySet } from '../common/policy-set.ts'
import { rbacRegistry } from '../controller/core/lanes/registry.ts'
import type { InboundPort } from '../controller/core/model/mesh.ts'
import { buildExtensionConfigs } from '../controller/core/xds/extension-config.ts'
import { buildHttpSlots } from '../controller/core/xds/extension-slot.ts'
import { AUTHZ_CLUSTER } from '../controller/core/xds/names.ts'
import { TypedExtensionConfigSchema } from '../proto/gen/envoy/config/core/v3/extension_pb.js'
import { ExtAuthzSchema } from '../proto/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { FilterChainConfigSchema } from '../proto/gen/envoy/extensions/filters/http/filter_chain/v3/filter_chain_pb.js'
import { RBACSchema } from '../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { HttpFilterSchema } from '../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { extension } from '../test/kit/differential/bed.ts'
import type { PemPair } from '../test/kit/differential/certificates.ts'

export type Filters =
  /** Answers by itself, 200 or what a denial is. */
  | { readonly kind: 'none'; readonly status: 200 | 403 }
  /** All that the controller puts there for this set. */
  | { readonly kind: 'tree'; readonly set: PolicySet }
  /** `envoy.config.rbac.v3.RBAC` with a list of policies. */
  | { readonly kind: 'flat'; readonly rules: JsonObject }

export interface BedListener {
  readonly name: string
  readonly port: number
  readonly filters: Filters
}

export interface BedOptions {
  readonly listeners: readonly BedListener[]
  readonly ca: string
  readonly server: PemPair
  /** Where the files of ECDS are written. */
  readonly folder: string
}

/** What Envoy's RBAC filter answers with. */
const DENIAL = 'RBAC: access denied'
const TYPE = 'type.googleapis.com/'
const HTTP_RBAC = 'envoy.extensions.filters.http.rbac.v3.RBAC'
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const registry = createRegistry(
  ExtAuthzSchema,
  FilterChainConfigSchema,
  RBACSchema,
  ...rbacRegistry,
)

export function buildBed(options: BedOptions): JsonObject {
  const listeners = options.listeners.map((l) => buildListener(l, options))
  return {
    node: { id: 'bench', cluster: 'bench' },
    staticResources: { listeners, clusters: [buildAuthzCluster()] },
  }
}

function buildListener(listener: BedListener, options: BedOptions): JsonObject {
  return {
    name: listener.name,
    address: { socketAddress: { address: '127.0.0.1', portValue: listener.port } },
    filterChains: [
      {
        filters: [
          extension(
            'hcm',
            'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            buildHcm(listener, options.folder),
          ),
        ],
        transportSocket: buildTls(options),
      },
    ],
  }
}

function buildHcm({ name, port, filters }: BedListener, folder: string): JsonObject {
  const isDenial = filters.kind === 'none' && filters.status === 403
  const answer = isDenial ? { status: 403, body: { inlineString: DENIAL } } : { status: 200 }
  const route = { match: { prefix: '/' }, directResponse: answer }
  return {
    statPrefix: name,
    normalizePath: true,
    mergeSlashes: true,
    pathWithEscapedSlashesAction: 'UNESCAPE_AND_FORWARD',
    stripAnyHostPort: true,
    stripTrailingHostDot: true,
    commonHttpProtocolOptions: { headersWithUnderscoresAction: 'REJECT_REQUEST' },
    http2ProtocolOptions: { maxConcurrentStreams: 250 },
    routeConfig: { virtualHosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
    httpFilters: [
      ...slotsOf(filters, port, folder),
      extension('router', 'envoy.extensions.filters.http.router.v3.Router', {
        suppressEnvoyHeaders: true,
      }),
    ],
  }
}

function slotsOf(filters: Filters, port: number, folder: string): JsonObject[] {
  if (filters.kind === 'none') return []
  if (filters.kind === 'flat') return [extension('flat', HTTP_RBAC, { rules: filters.rules })]
  return deliver(filters.set, port, folder)
}

/** The controller's own slots and resources, from a folder instead of a stream. */
function deliver(set: PolicySet, port: number, folder: string): JsonObject[] {
  for (const config of buildExtensionConfigs(inboundPort(port), set)) {
    const resource = { '@type': `${TYPE}${TypedExtensionConfigSchema.typeName}` }
    const resources = [{ ...resource, ...json(TypedExtensionConfigSchema, config) }]
    writeFileSync(fileOf(folder, config.name), JSON.stringify({ versionInfo: '1', resources }))
  }
  return buildHttpSlots(port, 'tls', 'one-slot').map((slot) => {
    const { name, configDiscovery } = json(HttpFilterSchema, slot)
    const path = fileOf(folder, String(name))
    const configSource = { pathConfigSource: { path }, resourceApiVersion: 'V3' }
    const discovery = { ...(configDiscovery as JsonObject), configSource }
    return { name: String(name), configDiscovery: discovery }
  })
}

function fileOf(folder: string, name: string): string {
  return join(folder, `${name.replaceAll('/', '-')}.json`)
}

function json<M extends Message>(schema: GenMessage<M>, message: M): JsonObject {
  return toJson(schema, message, { registry }) as JsonObject
}

function inboundPort(port: number): InboundPort {
  return {
    ...{ name: 'http', port, address: '127.0.0.1', appPort: 1, appAddress: '127.0.0.1' },
    ...{ protocol: 'HTTP', mtls: 'STRICT', serverFirst: false },
  }
}

/** Leads nowhere: in none of what is measured is the sidecar asked. */
function buildAuthzCluster(): JsonObject {
  return {
    name: AUTHZ_CLUSTER,
    type: 'STATIC',
    typedExtensionProtocolOptions: {
      [HTTP_OPTIONS]: {
        '@type': `${TYPE}${HTTP_OPTIONS}`,
        explicitHttpConfig: { http2ProtocolOptions: {} },
      },
    },
  }
}

function buildTls({ ca, server }: BedOptions): JsonObject {
  return extension('tls', 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
    requireClientCertificate: true,
    commonTlsContext: {
      alpnProtocols: ['h2'],
      tlsCertificates: [
        {
          certificateChain: { inlineString: server.certificate },
          privateKey: { inlineString: server.privateKey },
        },
      ],
      validationContext: { trustedCa: { inlineString: ca } },
    },
  })
}
