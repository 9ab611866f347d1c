/**
 * Envoy's HTTP connection manager for both directions: how requests are read, cleaned, named and logged.
 * Inbound: paths and hosts are brought to one form before any filter decides on them (what Envoy matched is what WASM
 * saw), what a client says about itself is removed, and the deciding filters stand before the router.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { HttpProtocolOptions_HeadersWithUnderscoresAction } from '../../../proto/gen/envoy/config/core/v3/protocol_pb.js'
import {
  type Filter,
  FilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import { RouterSchema } from '../../../proto/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import {
  HttpConnectionManager_CodecType,
  HttpConnectionManager_ForwardClientCertDetails,
  HttpConnectionManager_PathWithEscapedSlashesAction,
  HttpConnectionManager_ServerHeaderTransformation,
  HttpConnectionManagerSchema,
  type HttpFilter,
  HttpFilterSchema,
} from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { InboundPort, MeshSettings, OutboundPort } from '../model/mesh.ts'
import type { InboundLimits } from '../model/traffic.ts'
import { buildHttpAccessLog, buildOutboundHttpLogs } from './access-log.ts'
import { buildBodyFilters } from './body-limit.ts'
import { duration, fromAds, pack } from './encode.ts'
import { buildHttpSlots, type SlotForm } from './extension-slot.ts'
import { buildHttp2Options } from './http2.ts'
import * as limits from './limits.ts'
import { appClusterName, listenerName, serviceClusterName, type Transport } from './names.ts'
import {
  buildAddressDetection,
  buildHeaderHygiene,
  buildLocalReplies,
  buildOutboundHygiene,
  buildTrailerHygiene,
} from './request-hygiene.ts'
import { buildAppRoute } from './route.ts'
import { buildTracing, DECISION_TAGS, TRACE_HEADERS } from './tracing.ts'

type HcmInit = MessageInitShape<typeof HttpConnectionManagerSchema>

/** The chain of an inbound HTTP port: what decides, then the router. */
export function buildInboundHttp(
  port: InboundPort,
  transport: Transport,
  { mesh, service, form }: Callee,
): Filter {
  // A trace begins where the mesh does: who is outside must not decide what is recorded here.
  const isForeign = mesh.tracing !== undefined && transport === 'plaintext'
  return toFilter({
    ...buildCommon(`${listenerName('inbound', port.port)}/${transport}`),
    ...buildNormalization(),
    ...buildConnectionLife(port, transport, mesh),
    ...buildHeaderLimit(port.limits),
    ...buildClientCertDetails(transport),
    routeSpecifier: {
      case: 'routeConfig',
      value: buildAppRoute(appClusterName(port), port.limits),
    },
    httpFilters: [
      ...buildHttpSlots(port.port, transport, form),
      ...buildBodyFilters(port.limits),
      ...buildTrailerHygiene(port),
      buildRouter(),
    ],
    ...buildTracing(mesh, service, DECISION_TAGS),
    earlyHeaderMutationExtensions: [buildHeaderHygiene(isForeign ? TRACE_HEADERS : [])],
    localReplyConfig: buildLocalReplies(),
    accessLog: [buildHttpAccessLog(mesh)],
  })
}

/** The mesh, and what traces call the workload. */
export interface Caller {
  readonly mesh: MeshSettings
  readonly service: string
}

/** And how it decides. */
export interface Callee extends Caller {
  readonly form: SlotForm
}

/** The chain of an outbound HTTP port: the router alone, since the server decides. */
export function buildOutboundHttp(port: OutboundPort, mesh: MeshSettings, service: string): Filter {
  const statPrefix = listenerName('outbound', port.port)
  const way = { mesh, service, route: serviceClusterName(port), statPrefix }
  return buildServiceHttp(way, port.traffic?.limits)
}

export interface HttpWay extends Caller {
  /** Name of the route configuration. */
  readonly route: string
  /** Default: the route's name. */
  readonly statPrefix?: string
}

/** Towards what `route` names; `own` are the limits of who is called. */
export function buildServiceHttp(way: HttpWay, own: InboundLimits = {}): Filter {
  const { mesh, service, route, statPrefix = route } = way
  return toFilter({
    ...buildCommon(statPrefix),
    ...buildHeaderLimit(atLeastDefault(own)),
    ...buildTracing(mesh, service),
    routeSpecifier: {
      case: 'rds',
      value: { configSource: fromAds(), routeConfigName: route },
    },
    httpFilters: [buildRouter()],
    earlyHeaderMutationExtensions: [buildOutboundHygiene()],
    commonHttpProtocolOptions: { idleTimeout: duration(limits.INBOUND_IDLE_TIMEOUT_MS) },
    forwardClientCertDetails: HttpConnectionManager_ForwardClientCertDetails.SANITIZE,
    accessLog: buildOutboundHttpLogs(mesh),
  })
}

function toFilter(init: HcmInit): Filter {
  return create(FilterSchema, {
    name: 'envoy.filters.network.http_connection_manager',
    configType: { case: 'typedConfig', value: pack(HttpConnectionManagerSchema, init) },
  })
}

/**
 * Requests have no total timeout, since streams must live; what bounds them is the idle time.
 * X-Forwarded-For is neither believed nor extended: rules read the peer's own address.
 * x-request-id is made where a request enters the mesh and kept from there on.
 */
function buildCommon(statPrefix: string) {
  return {
    statPrefix,
    codecType: HttpConnectionManager_CodecType.AUTO,
    httpProtocolOptions: {},
    http2ProtocolOptions: buildHttp2Options(),
    streamIdleTimeout: duration(limits.STREAM_IDLE_TIMEOUT_MS),
    requestHeadersTimeout: duration(limits.REQUEST_HEADERS_TIMEOUT_MS),
    serverHeaderTransformation: HttpConnectionManager_ServerHeaderTransformation.PASS_THROUGH,
    useRemoteAddress: false,
    skipXffAppend: true,
    originalIpDetectionExtensions: [buildAddressDetection()],
    generateRequestId: true,
    preserveExternalRequestId: true,
    upgradeConfigs: [{ upgradeType: 'websocket' }],
  } satisfies HcmInit
}

/** One form of path and host for RBAC, WASM and app (LOWERING §4). */
function buildNormalization() {
  return {
    normalizePath: true,
    mergeSlashes: true,
    pathWithEscapedSlashesAction:
      HttpConnectionManager_PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD,
    stripPortMode: { case: 'stripAnyHostPort', value: true },
    stripTrailingHostDot: true,
  } satisfies HcmInit
}

/**
 * Envoy doesn't close a connection when the peer's certificate ends, so each mesh connection has an end of its own. It
 * is an end for an idle HTTP/1.1 connection too ("safe" would wait for a next response, after the certificate's end):
 * a mesh proxy has left it before. Streams are bounded as well: a websocket never comes to a last response.
 */
function buildConnectionLife(port: InboundPort, transport: Transport, mesh: MeshSettings) {
  const isMesh = transport === 'tls'
  const lifeMs = mesh.svidLifetimeSeconds * 1000 * limits.INBOUND_CONNECTION_LIFE_SHARE
  return {
    ...(isMesh ? { drainTimeout: duration(limits.CONNECTION_DRAIN_MS) } : {}),
    commonHttpProtocolOptions: {
      idleTimeout: duration(port.limits?.idleTimeoutMs ?? limits.INBOUND_IDLE_TIMEOUT_MS),
      // To CGI-like apps `a_b` and `a-b` are one variable: a way around a rule on either.
      headersWithUnderscoresAction: HttpProtocolOptions_HeadersWithUnderscoresAction.REJECT_REQUEST,
      ...(isMesh
        ? { maxConnectionDuration: duration(lifeMs), maxStreamDuration: duration(lifeMs) }
        : {}),
    },
  } satisfies HcmInit
}

/** Envoy counts in KiB; its own default is REQUEST_HEADERS_BYTES. */
function buildHeaderLimit({ maxRequestHeaderBytes: bytes }: InboundLimits = {}) {
  return bytes === undefined ? {} : { maxRequestHeadersKb: Math.max(1, Math.floor(bytes / 1024)) }
}

/** The caller's Envoy lets through what the service takes; where that is little, the service is who refuses. */
function atLeastDefault(own: InboundLimits = {}): InboundLimits {
  const { maxRequestHeaderBytes: bytes } = own
  return bytes !== undefined && bytes > limits.REQUEST_HEADERS_BYTES ? own : {}
}

/** `x-forwarded-client-cert` is Envoy's word about the peer; a client's own is removed. */
function buildClientCertDetails(transport: Transport) {
  return transport === 'plaintext'
    ? { forwardClientCertDetails: HttpConnectionManager_ForwardClientCertDetails.SANITIZE }
    : {
        forwardClientCertDetails: HttpConnectionManager_ForwardClientCertDetails.SANITIZE_SET,
        setCurrentClientCertDetails: { uri: true },
      }
}

function buildRouter(): HttpFilter {
  return create(HttpFilterSchema, {
    name: 'envoy.filters.http.router',
    configType: {
      case: 'typedConfig',
      value: pack(RouterSchema, { suppressEnvoyHeaders: true }),
    },
  })
}
