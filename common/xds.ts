/**
 * xDS resources and snapshots as both programs hold them: encoded once, never changed.
 * Source: Envoy xDS protocol, https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */

export const TYPE_URLS = {
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoint: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  route: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
  extensionConfig: 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig',
} as const

export type TypeUrl = (typeof TYPE_URLS)[keyof typeof TYPE_URLS]

/** Make-before-break order (xDS protocol, "Eventual consistency considerations"). */
export const PUBLISH_ORDER: readonly TypeUrl[] = [
  TYPE_URLS.secret,
  TYPE_URLS.cluster,
  TYPE_URLS.endpoint,
  TYPE_URLS.extensionConfig,
  TYPE_URLS.listener,
  TYPE_URLS.route,
]

export interface XdsResource {
  readonly name: string
  /** Lower-case hex SHA-256 of `value`, first 16 digits. */
  readonly version: string
  /** The resource's own encoding (the `value` of its Any). */
  readonly value: Uint8Array
}

/** All resources of one proxy. `version` is the content hash over all names and versions: the generation. */
export interface XdsSnapshot {
  readonly version: string
  readonly resources: ReadonlyMap<TypeUrl, ReadonlyMap<string, XdsResource>>
  /** Tokens of common/features.ts that the proxy must have named to be given it. Absent: none. */
  readonly requires?: readonly string[]
  /** For a proxy that has not named `lacking`: the same by older means, made when it is asked for. It needs what `requires` names no less. */
  readonly older?: { readonly lacking: string; readonly snapshot: XdsSnapshot }
}

/** SDS names (DESIGN §6): the workload's own certificate and the trust bundle. */
export const SECRET_SVID = 'default'
export const SECRET_TRUST_BUNDLE = 'ROOTCA'

/** Filter state by which a server-first chain hands the peer on to the listener that decides about it, and to its log. */
export const PEER_STATE = {
  /** URI SANs, joined by commas; absent without a certificate. */
  uriSan: 'postern.peer.uri_san',
  /** The peer's own IP address. */
  address: 'postern.peer.address',
  /** `address:port`. */
  socket: 'postern.peer.socket',
  /** The inbound port that was called, in decimal. */
  port: 'postern.inbound.port',
} as const
