/**
 * A real Envoy with a TLS and a plaintext listener, each with Postern's HTTP settings and one route per policy set
 * (`x-set: N`) that carries the set's deciding filters. The filter chain: observe → RBAC, or RBAC and ext_authz → 200.
 */
import { createRegistry, type JsonObject, toJson } from '@bufbuild/protobuf'
import type { PolicySet } from '../../../common/policy-set.ts'
import { buildNetworkRbac } from '../../../controller/core/lanes/network-rbac.ts'
import { rbacRegistry } from '../../../controller/core/lanes/registry.ts'
import { buildDecidingFilters } from '../../../controller/core/xds/extension-config.ts'
import { TypedExtensionConfigSchema } from '../../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { ExtAuthzSchema } from '../../../proto/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { RBACSchema } from '../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { PemPair } from './certificates.ts'

export interface BedOptions {
  readonly sets: readonly PolicySet[]
  readonly ports: { readonly tls: number; readonly plaintext: number }
  readonly observerPort: number
  readonly ca: string
  readonly server: PemPair
}

/** All types that deciding filters are, and hold. */
const registry = createRegistry(ExtAuthzSchema, RBACSchema, ...rbacRegistry)
const TYPE = 'type.googleapis.com/'
const AUTHZ = 'authz'

/** Bootstrap JSON. */
export function buildBed(options: BedOptions): JsonObject {
  return {
    staticResources: {
      listeners: [buildListener(options, 'tls'), buildListener(options, 'plaintext')],
      clusters: [authzCluster(options.observerPort)],
    },
  }
}

export interface TcpBedOptions extends Pick<BedOptions, 'ca' | 'server'> {
  /** One listener for each: network RBAC, then an echo. */
  readonly listeners: readonly {
    readonly set: PolicySet
    readonly port: number
    readonly transport: 'tls' | 'plaintext'
  }[]
}

/** Bootstrap JSON for TCP: a client that is let in gets its bytes back, another one is closed. */
export function buildTcpBed(options: TcpBedOptions): JsonObject {
  const listeners = options.listeners.map(({ set, port, transport }) => {
    const message = buildNetworkRbac(set, { port, transport })
    const rbac = toJson(NetworkRbacSchema, message, { registry: rbacRegistry }) as JsonObject
    return {
      name: String(port),
      address: { socketAddress: { address: '127.0.0.1', portValue: port } },
      filterChains: [
        {
          filters: [
            extension('rbac', 'envoy.extensions.filters.network.rbac.v3.RBAC', rbac),
            extension('echo', 'envoy.extensions.filters.network.echo.v3.Echo', {}),
          ],
          ...(transport === 'tls' ? { transportSocket: tlsSocket(options) } : {}),
        },
      ],
    }
  })
  return { staticResources: { listeners } }
}

function buildListener(options: BedOptions, transport: 'tls' | 'plaintext'): JsonObject {
  const port = options.ports[transport]
  return {
    name: transport,
    address: { socketAddress: { address: '127.0.0.1', portValue: port } },
    filterChains: [
      {
        filters: [extension('hcm', HCM, buildHcm(options, transport))],
        ...(transport === 'tls' ? { transportSocket: tlsSocket(options) } : {}),
      },
    ],
  }
}

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const EXT_AUTHZ = 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz'
const FILTER_CHAIN = 'envoy.extensions.filters.http.filter_chain.v3'

function buildHcm(options: BedOptions, transport: 'tls' | 'plaintext'): JsonObject {
  const port = options.ports[transport]
  const named = (key: string, name: string) => ({
    header: { key, value: `%DYNAMIC_METADATA(envoy.filters.http.rbac:${name})%` },
  })
  const routes = options.sets.map((set, i) => ({
    match: { prefix: '/', headers: [{ name: 'x-set', stringMatch: { exact: String(i) } }] },
    directResponse: { status: 200 },
    typedPerFilterConfig: {
      authz: {
        '@type': `${TYPE}${FILTER_CHAIN}.FilterChainConfigPerRoute`,
        filterChain: { filters: buildFilters(set, port, transport) },
      },
    },
  }))
  const headers = [
    named('x-enforced', 'enf_enforced_effective_policy_id'),
    named('x-shadow', 'low_shadow_engine_result'),
  ]
  return {
    statPrefix: transport,
    normalizePath: true,
    mergeSlashes: true,
    pathWithEscapedSlashesAction: 'UNESCAPE_AND_FORWARD',
    stripAnyHostPort: true,
    stripTrailingHostDot: true,
    forwardClientCertDetails: 'SANITIZE_SET',
    setCurrentClientCertDetails: { uri: true },
    commonHttpProtocolOptions: { headersWithUnderscoresAction: 'REJECT_REQUEST' },
    routeConfig: {
      responseHeadersToAdd: headers,
      virtualHosts: [{ name: 'all', domains: ['*'], routes }],
    },
    localReplyConfig: {
      mappers: [
        {
          filter: {
            statusCodeFilter: { comparison: { value: { defaultValue: 403, runtimeKey: 'x' } } },
          },
          headersToAdd: [{ header: { key: 'x-details', value: '%RESPONSE_CODE_DETAILS%' } }],
        },
      ],
    },
    httpFilters: [
      extAuthz('observe', {}),
      extension('authz', `${FILTER_CHAIN}.FilterChainConfig`, {}),
      extension('router', 'envoy.extensions.filters.http.router.v3.Router', {}),
    ],
  }
}

/** What decides, as the controller makes it; the call goes to the observer, and never gives up. */
function buildFilters(set: PolicySet, port: number, transport: 'tls' | 'plaintext'): JsonObject[] {
  const [rules, call] = buildDecidingFilters(set, { port, transport }).map(
    (filter) => toJson(TypedExtensionConfigSchema, filter, { registry }) as JsonObject,
  )
  if (rules === undefined) throw new Error('nothing decides')
  if (call === undefined) return [rules]
  const { filterEnabledMetadata } = call.typedConfig as JsonObject
  if (filterEnabledMetadata === undefined) throw new Error('the call is never skipped')
  return [rules, extAuthz('decide', { filterEnabledMetadata })]
}

function extAuthz(stage: string, more: JsonObject): JsonObject {
  return extension(stage, EXT_AUTHZ, {
    transportApiVersion: 'V3',
    statusOnError: { code: 'ServiceUnavailable' },
    grpcService: {
      envoyGrpc: { clusterName: AUTHZ },
      timeout: '10s',
      initialMetadata: [{ key: 'x-stage', value: stage }],
    },
    ...more,
  })
}

function tlsSocket({ ca, server }: Pick<BedOptions, 'ca' | 'server'>): JsonObject {
  return extension('tls', 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
    requireClientCertificate: false,
    commonTlsContext: {
      alpnProtocols: ['h2', 'http/1.1'],
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

function authzCluster(port: number): JsonObject {
  const options = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
  const address = { socketAddress: { address: '127.0.0.1', portValue: port } }
  return {
    name: AUTHZ,
    type: 'STATIC',
    connectTimeout: '5s',
    loadAssignment: {
      clusterName: AUTHZ,
      endpoints: [{ lbEndpoints: [{ endpoint: { address } }] }],
    },
    typedExtensionProtocolOptions: {
      [options]: {
        '@type': `${TYPE}${options}`,
        explicitHttpConfig: { http2ProtocolOptions: {} },
      },
    },
  }
}

export function extension(name: string, type: string, config: JsonObject): JsonObject {
  return { name, typedConfig: { '@type': `${TYPE}${type}`, ...config } }
}
