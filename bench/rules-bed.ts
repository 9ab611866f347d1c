/**
 * One Envoy with a listener for each way to decide about the same rules: nothing, the tree (slot 1), both slots as a
 * workload has them, and the flat RBAC list that other meshes write.
 * In: listeners. Out: bootstrap JSON.
 */
import { type JsonObject, toJson } from '@bufbuild/protobuf'
import type { PolicySet } from '../common/policy-set.ts'
import { buildHttpRbac } from '../controller/core/lanes/http-rbac.ts'
import { rbacRegistry } from '../controller/core/lanes/registry.ts'
import { RBACSchema } from '../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { extension } from '../test/kit/differential/bed.ts'
import type { PemPair } from '../test/kit/differential/certificates.ts'

export type Filters =
  /** Answers by itself, 200 or what a denial is. */
  | { readonly kind: 'none'; readonly status: 200 | 403 }
  /** Slot 1; `withCall`: and slot 2, which is skipped by what slot 1 says. */
  | { readonly kind: 'tree'; readonly set: PolicySet; readonly withCall: boolean }
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
}

/** What Envoy's RBAC filter answers with. */
const DENIAL = 'RBAC: access denied'
const TYPE = 'type.googleapis.com/'
const HTTP_RBAC = 'envoy.extensions.filters.http.rbac.v3.RBAC'
const EXT_AUTHZ = 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz'

export function buildBed(options: BedOptions): JsonObject {
  const listeners = options.listeners.map((l) => buildListener(l, options))
  return {
    node: { id: 'bench', cluster: 'bench' },
    staticResources: { listeners, clusters: [{ name: 'authz', type: 'STATIC' }] },
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
            buildHcm(listener),
          ),
        ],
        transportSocket: buildTls(options),
      },
    ],
  }
}

function buildHcm({ name, port, filters }: BedListener): JsonObject {
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
      ...slotsOf(filters, port).map((typedConfig, i) => ({ name: `slot-${i + 1}`, typedConfig })),
      extension('router', 'envoy.extensions.filters.http.router.v3.Router', {
        suppressEnvoyHeaders: true,
      }),
    ],
  }
}

function slotsOf(filters: Filters, port: number): JsonObject[] {
  if (filters.kind === 'none') return []
  if (filters.kind === 'flat') return [{ '@type': `${TYPE}${HTTP_RBAC}`, rules: filters.rules }]
  const rbac = toJson(RBACSchema, buildHttpRbac(filters.set, { port, transport: 'tls' }), {
    registry: rbacRegistry,
  }) as JsonObject
  const tree = { '@type': `${TYPE}${HTTP_RBAC}`, ...rbac }
  return filters.withCall ? [tree, buildExtAuthz()] : [tree]
}

function buildExtAuthz(): JsonObject {
  return {
    '@type': `${TYPE}${EXT_AUTHZ}`,
    transportApiVersion: 'V3',
    grpcService: { envoyGrpc: { clusterName: 'authz' }, timeout: '0.5s' },
    statusOnError: { code: 'ServiceUnavailable' },
    filterEnabledMetadata: {
      filter: 'envoy.filters.http.rbac',
      path: [{ key: 'low_shadow_engine_result' }],
      value: { stringMatch: { exact: 'allowed' } },
      invert: true,
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
