/**
 * An entry of Envoy's access log → the line that is written of it: who called whom, with what, what came of it, and
 * which decision let it. In: the entry, what was decided if it is known. Out: a JSON value without credentials, or
 * undefined for what the mode leaves out. Source: envoy/data/accesslog/v3/accesslog.proto.
 */
import type { JsonObject } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import { ACCESS_LOG_NAMES, OUTBOUND_LOG_NAME } from '../../../common/telemetry.ts'
import type { Address } from '../../../proto/gen/envoy/config/core/v3/address_pb.js'
import {
  type AccessLogCommon,
  type HTTPAccessLogEntry,
  HTTPAccessLogEntry_HTTPVersion,
} from '../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import {
  type AccessLogEntry,
  DECISION_ID,
  isRequestEnd,
  methodOf,
} from '../decision-log/access-log.ts'
import { maskQuery } from '../decision-log/mask-query.ts'
import { readLoggedPeer } from '../decision-log/peer.ts'
import { type DecisionFacts, formatTime, type LogLabels } from '../decision-log/record.ts'

export interface AccessRecord {
  readonly type: 'postern.dev/access_log'
  /** When the request or connection began. */
  readonly timestamp: string
  readonly direction: 'inbound' | 'outbound'
  readonly labels: LogLabels
  readonly [field: string]: unknown
}

const EXT_AUTHZ = 'envoy.filters.http.ext_authz'
/** Envoy's word for an answer that is the app's. */
const VIA_UPSTREAM = 'via_upstream'

/** `facts`: Envoy’s own decision on it; what the sidecar decided stands in the entry’s metadata. */
export function toAccessRecord(
  { logName, ...entry }: AccessLogEntry,
  facts: DecisionFacts | undefined,
  labels: LogLabels,
): AccessRecord | undefined {
  const isWanted =
    logName === ACCESS_LOG_NAMES.All ||
    logName === OUTBOUND_LOG_NAME ||
    (logName === ACCESS_LOG_NAMES.Denied && isRefused(entry, facts))
  const common = entry.entry.commonProperties
  if (!isWanted || common === undefined || !isRequestEnd(common)) return undefined
  const isOutbound = logName === OUTBOUND_LOG_NAME
  return {
    type: 'postern.dev/access_log',
    timestamp: formatTime(startOf(common)),
    direction: isOutbound ? 'outbound' : 'inbound',
    labels,
    ...endsOf(common, isOutbound),
    ...(entry.protocol === 'http' ? httpFields(entry.entry) : { protocol: 'TCP' }),
    ...decisionFields(common, facts),
    ...textFields(common),
    ...trafficFields(entry, common),
  }
}

type Entry = Omit<AccessLogEntry, 'logName'>

/** Answered or closed by Envoy itself: denied, malformed, or not to be delivered. */
function isRefused(entry: Entry, facts: DecisionFacts | undefined): boolean {
  if (facts?.verdict.allowed === false) return true
  if (entry.protocol === 'http')
    return !(entry.entry as HTTPAccessLogEntry).response?.responseCodeDetails.startsWith(
      VIA_UPSTREAM,
    )
  const { connectionTerminationDetails = '', customTags = {} } = entry.entry.commonProperties ?? {}
  return connectionTerminationDetails !== '' || flagsOf(customTags) !== undefined
}

function endsOf(common: AccessLogCommon, isOutbound: boolean) {
  const peer = readLoggedPeer(common)
  const upstreamPeer = present(common.customTags.upstream_peer)
  const own = common.tlsProperties?.localCertificateProperties?.subjectAltName ?? []
  const ownId = own.flatMap(({ san }) => (san.case === 'uri' ? [san.value] : []))[0]
  const upstream = addressOf(common.upstreamRemoteAddress)
  return {
    source: { ...given('principal', peer.principal), ...given('address', peer.socket) },
    destination: {
      ...given('principal', isOutbound ? upstreamPeer : ownId),
      ...given('address', isOutbound ? upstream : addressOf(common.downstreamLocalAddress)),
    },
    ...given('upstream_cluster', present(common.upstreamCluster)),
    ...given('upstream_address', upstream),
  }
}

function httpFields({ request, response, protocolVersion }: HTTPAccessLogEntry) {
  const version = HTTPAccessLogEntry_HTTPVersion[protocolVersion] ?? ''
  const headers = request?.requestHeaders ?? {}
  return {
    protocol: version.startsWith('HTTP') ? version.replace(/^HTTP(\d)(\d?)$/, joinVersion) : 'HTTP',
    ...methodOf(request),
    ...given('path', request && maskQuery(request.originalPath || request.path).value),
    ...given('host', present(request?.authority)),
    ...given('user_agent', present(request?.userAgent)),
    ...given('request_id', present(headers['x-request-id'] ?? request?.requestId)),
    ...given('decision_id', present(headers[DECISION_ID])),
    ...given('status', response?.responseCode),
    ...given('details', present(response?.responseCodeDetails)),
  }
}

/** `HTTP11` → `HTTP/1.1`, `HTTP2` → `HTTP/2`. */
function joinVersion(_: string, major: string, minor: string): string {
  return minor === '' ? `HTTP/${major}` : `HTTP/${major}.${minor}`
}

function decisionFields(common: AccessLogCommon, facts: DecisionFacts | undefined) {
  const said = common.metadata?.filterMetadata[EXT_AUTHZ]?.postern
  if (facts === undefined)
    return said === undefined ? {} : { decision: { lane: 'wasm', ...(said as JsonObject) } }
  const { lane, verdict } = facts
  const { policy, rule, allowed } = verdict
  const result = allowed ? 'allow' : 'deny'
  return { decision: { lane, result, policy, ...given('rule', rule), reason: verdict.reason } }
}

function textFields({ customTags, ...common }: AccessLogCommon) {
  return {
    ...given('trace_id', present(customTags.trace_id)),
    ...given('span_id', present(customTags.span_id)),
    ...given('response_flags', flagsOf(customTags)),
    ...given('upstream_failure', present(common.upstreamTransportFailureReason)),
    ...given('downstream_failure', present(common.downstreamTransportFailureReason)),
    ...given('termination', present(common.connectionTerminationDetails)),
  }
}

function trafficFields({ protocol, entry }: Entry, common: AccessLogCommon) {
  const http = protocol === 'http' ? (entry as HTTPAccessLogEntry) : undefined
  const tcp = 'connectionProperties' in entry ? entry.connectionProperties : undefined
  return {
    bytes_received: Number(http?.request?.requestBodyBytes ?? tcp?.receivedBytes ?? 0n),
    bytes_sent: Number(http?.response?.responseBodyBytes ?? tcp?.sentBytes ?? 0n),
    ...given('duration_ms', toMs(common.duration ?? common.timeToLastDownstreamTxByte)),
    ...given('upstream_ms', toMs(common.timeToFirstUpstreamRxByte)),
    ...(common.upstreamRequestAttemptCount > 1
      ? { attempts: common.upstreamRequestAttemptCount }
      : {}),
  }
}

function startOf({ startTime }: AccessLogCommon): bigint {
  return startTime === undefined ? 0n : startTime.seconds * 1_000_000_000n + BigInt(startTime.nanos)
}

function toMs(duration: Duration | undefined): number | undefined {
  return duration === undefined
    ? undefined
    : Number(duration.seconds) * 1000 + Math.round(duration.nanos / 1000) / 1000
}

function addressOf(address: Address | undefined): string | undefined {
  if (address?.address.case !== 'socketAddress') return undefined
  const { address: host, portSpecifier } = address.address.value
  const shown = host.includes(':') ? `[${host}]` : host
  return portSpecifier.case === 'portValue' ? `${shown}:${portSpecifier.value}` : shown
}

function flagsOf(tags: Readonly<Record<string, string>>): readonly string[] | undefined {
  return present(tags.response_flags)?.split(',')
}

/** Envoy’s `-` is nothing. */
function present(text: string | undefined): string | undefined {
  return text === undefined || text === '' || text === '-' ? undefined : text
}

function given<K extends string, V>(name: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [P in K]: V })
}
