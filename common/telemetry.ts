/**
 * How the controller tells the sidecar, through Envoy, what to make of its access logs and spans: by the log's name, and
 * by metadata of the calls. Nothing else has to reach the sidecar, and what Envoy says and what is made of it never differ.
 * A sidecar of 0.1 knows no name and writes nothing; it takes every entry for a decision, so that outbound logs are for
 * those that know the feature `log/outbound`.
 */

/** Names of inbound logs, by Mesh.spec.telemetry.accessLog.mode. */
export const ACCESS_LOG_NAMES = {
  Off: 'postern',
  Denied: 'postern/denied',
  All: 'postern/all',
} as const

export const OUTBOUND_LOG_NAME = 'postern/outbound'

/** Custom tags of an entry → Envoy's format operators. */
export const ACCESS_LOG_TAGS = {
  trace_id: '%TRACE_ID%',
  span_id: '%SPAN_ID%',
  response_flags: '%RESPONSE_FLAGS%',
  upstream_peer: '%UPSTREAM_PEER_URI_SAN%',
} as const

/** gRPC metadata on the spans that Envoy hands to the sidecar: whom they are for, and what traces call the workload. */
export const COLLECTOR_METADATA = 'x-postern-collector'
export const SERVICE_METADATA = 'x-postern-service'
