/**
 * Entries of Envoy's access log → what Envoy itself decided, for the decision log.
 * A decision of Envoy's: its RBAC denied; or its tree allowed, so that the sidecar was skipped; or the sidecar was asked
 * and gave no answer. What the sidecar answered it has logged itself, and what no filter decided is no decision.
 * Source: Envoy's RBAC filters (dynamic metadata, `rbac_access_denied_matched_policy[…]`), ext_authz (`ext_authz_error`).
 */

import { decide } from '../../../common/authz/combine.ts'
import type { PolicySet } from '../../../common/policy-set.ts'
import { OUTBOUND_LOG_NAME } from '../../../common/telemetry.ts'
import { RequestMethod } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type AccessLogCommon,
  AccessLogType,
  type HTTPAccessLogEntry,
  type TCPAccessLogEntry,
} from '../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import { readLoggedPeer } from './peer.ts'
import { nameRuling, type RbacRuling } from './rbac-ruling.ts'
import type { DecisionFacts, RequestSummary } from './record.ts'

/** `logName` says what is to be written of it (common/telemetry.ts). */
export type AccessLogEntry =
  | { readonly logName: string; readonly protocol: 'http'; readonly entry: HTTPAccessLogEntry }
  | { readonly logName: string; readonly protocol: 'tcp'; readonly entry: TCPAccessLogEntry }

export interface AccessLogContext {
  /** The set in force; undefined: none yet. */
  readonly set: PolicySet | undefined
  readonly revision: string | undefined
  /** An id for an entry that has none. */
  readonly newId: () => string
  /** The policy that held the sidecar up when a call began, epoch nanoseconds. */
  readonly whyNoAnswer: (startNs: bigint) => string | undefined
  /** Epoch nanoseconds, for an entry without a time. */
  readonly nowNs: bigint
}

const RBAC_METADATA = 'envoy.filters.http.rbac'
const RBAC_DENIED = /^rbac_access_denied_matched_policy\[(.*)\]$/
const EXT_AUTHZ_FAILED = 'ext_authz_error'
export const DECISION_ID = 'x-postern-decision-id'
/** The enforced rules' word for "the sidecar decides". */
const PASS = 'pass'
/** The shadow rules' word, before `authz/chain`, for "everything is decided here": the enforced rules name who decided. */
const DECIDED = 'decided'

/** The last entry of a request or connection: others, of what goes on, have less. */
export function isRequestEnd(common: AccessLogCommon): boolean {
  return (
    isOneOf(common, AccessLogType.DownstreamEnd) || isOneOf(common, AccessLogType.TcpConnectionEnd)
  )
}

/** Undefined: the entry is no decision of Envoy's. */
export function fromAccessLogEntry(
  entry: AccessLogEntry,
  context: AccessLogContext,
): DecisionFacts | undefined {
  // The server decides, not its caller.
  if (entry.logName === OUTBOUND_LOG_NAME) return undefined
  return entry.protocol === 'http' ? fromHttp(entry.entry, context) : fromTcp(entry.entry, context)
}

function fromHttp(entry: HTTPAccessLogEntry, context: AccessLogContext): DecisionFacts | undefined {
  const common = entry.commonProperties
  const isEnd = common !== undefined && isOneOf(common, AccessLogType.DownstreamEnd)
  if (!isEnd) return undefined
  const { request, response } = entry
  const traceparent = traceOf(common) ?? request?.requestHeaders.traceparent
  const summary: RequestSummary = {
    ...toSummary(common, request?.requestHeaders[DECISION_ID] ?? context.newId()),
    ...(request === undefined ? {} : { path: request.path, host: request.authority }),
    ...methodOf(request),
    ...(traceparent === undefined ? {} : { traceparent }),
  }
  const details = response?.responseCodeDetails ?? ''
  const httpStatus = response?.responseCode
  if (details === EXT_AUTHZ_FAILED) return toFailure(common, summary, context, httpStatus ?? 503)
  const ruling = httpRuling(common, details)
  if (ruling === undefined) return undefined
  return toFacts({ common, summary, context, ruling, shadow: [], httpStatus })
}

/** As sent, when Envoy logs it; an older configuration logs the number of a method that it knows, or nothing. */
export function methodOf(request: HTTPAccessLogEntry['request']): { readonly method?: string } {
  const sent = request?.requestHeaders[':method']
  if (sent !== undefined) return { method: sent }
  return request?.requestMethod ? { method: RequestMethod[request.requestMethod] ?? '' } : {}
}

/** The span of the request, where Envoy made one and says so. */
function traceOf({ customTags }: AccessLogCommon): string | undefined {
  const { trace_id: trace = '', span_id: span = '' } = customTags
  return trace.length === 32 && span.length === 16 ? `00-${trace}-${span}-01` : undefined
}

/**
 * What the RBAC filter says, by its metadata and, when it denied, by the response's details. It allows by the name of
 * who allows, or lets pass to the sidecar, which then is asked unless the shadow rules allow.
 */
function httpRuling(common: AccessLogCommon, details: string): RbacRuling | undefined {
  const said = common.metadata?.filterMetadata[RBAC_METADATA] ?? {}
  const text = (key: string) => (typeof said[key] === 'string' ? said[key] : undefined)
  const denied = RBAC_DENIED.exec(details)
  const [result, enforced] = [
    text('enf_enforced_engine_result'),
    text('enf_enforced_effective_policy_id'),
  ]
  if (denied !== null || result === 'denied') {
    return { allowed: false, name: enforced ?? denied?.[1] }
  }
  if (text('low_shadow_engine_result') === 'allowed') {
    const shadow = text('low_shadow_effective_policy_id')
    return { allowed: true, name: shadow === DECIDED ? enforced : shadow }
  }
  const isDecided = result === 'allowed' && enforced !== undefined && enforced !== PASS
  return isDecided ? { allowed: true, name: enforced } : undefined
}

/** A connection: RBAC is the only one to decide. Who allowed, and what would have matched, the set itself tells. */
function fromTcp(entry: TCPAccessLogEntry, context: AccessLogContext): DecisionFacts | undefined {
  const common = entry.commonProperties
  if (common === undefined || !isOneOf(common, AccessLogType.TcpConnectionEnd)) return undefined
  const { streamId, connectionTerminationDetails } = common
  const summary = toSummary(common, streamId === '' ? context.newId() : streamId)
  const denied = RBAC_DENIED.exec(connectionTerminationDetails)
  const peer = readLoggedPeer(common)
  const said =
    context.set === undefined || peer.calledPort === undefined
      ? undefined
      : decide(
          context.set,
          {
            protocol: 'tcp',
            principal: summary.source,
            sourceAddress: peer.address,
            destinationPort: peer.calledPort,
          },
          () => ({ kind: 'undefined' }),
        )
  const ruling: RbacRuling =
    denied === null
      ? { allowed: true, name: said?.rule ?? said?.policy }
      : { allowed: false, name: denied[1] }
  const shadow = said === undefined ? [] : [...said.shadow, ...said.audit]
  return toFacts({ common, summary, context, ruling, shadow, httpStatus: undefined })
}

function toFacts(found: {
  readonly common: AccessLogCommon
  readonly summary: RequestSummary
  readonly context: AccessLogContext
  readonly ruling: RbacRuling
  readonly shadow: readonly string[]
  readonly httpStatus: number | undefined
}): DecisionFacts {
  const { common, summary, context, ruling, shadow, httpStatus } = found
  return {
    ...base(common, summary, context),
    lane: 'rbac',
    verdict: {
      ...nameRuling(ruling, context.set),
      allowed: ruling.allowed,
      result: ruling.allowed,
      shadow,
      failedOpen: [],
      ...(httpStatus === undefined ? {} : { httpStatus }),
    },
  }
}

/** Envoy asked the sidecar and had no answer in time: refused, and nobody else has logged it. */
function toFailure(
  common: AccessLogCommon,
  summary: RequestSummary,
  context: AccessLogContext,
  httpStatus: number,
): DecisionFacts {
  const facts = base(common, summary, context)
  const cause = context.whyNoAnswer(facts.timeNs)
  const message = 'Envoy had no answer from the sidecar'
  const error =
    cause === undefined
      ? { code: 'ERR_POLICY_ERROR', message }
      : {
          code: 'ERR_POLICY_TIMEOUT',
          message: `${message}: policy ${cause} took too long for another call, and its worker was replaced`,
        }
  return {
    ...facts,
    lane: 'wasm',
    verdict: {
      ...{ allowed: false, policy: cause ?? '', reason: error.code, error, httpStatus },
      ...{ result: null, shadow: [], failedOpen: [] },
    },
  }
}

function base(common: AccessLogCommon, request: RequestSummary, context: AccessLogContext) {
  const { revision } = context
  const start = common.startTime
  return {
    request,
    timeNs:
      start === undefined ? context.nowNs : start.seconds * 1_000_000_000n + BigInt(start.nanos),
    ...(revision === undefined ? {} : { revision }),
    metrics: {},
  }
}

function toSummary(common: AccessLogCommon, decisionId: string): RequestSummary {
  const { socket = '', principal } = readLoggedPeer(common)
  return {
    decisionId,
    requestedBy: socket,
    ...(principal === undefined ? {} : { source: principal }),
  }
}

/** `NotSet` is what Envoy sends when no periodic entries were asked for. */
function isOneOf(common: AccessLogCommon, type: AccessLogType): boolean {
  return common.accessLogType === type || common.accessLogType === AccessLogType.NotSet
}
