/**
 * CheckRequest → what declarative rules, guards and the decision log know of the request.
 * Everything is the transport's own word: the peer's address is the connection's, never X-Forwarded-For.
 */
import type { RawAttributes } from '../../../common/authz/guards.ts'
import type { RequestAttributes } from '../../../common/authz/request.ts'
import type { AttributeContext_Peer } from '../../../proto/gen/envoy/service/auth/v3/attribute_context_pb.js'
import type { CheckRequest } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import type { RequestSummary } from '../decision-log/record.ts'
import { DECISION_ID_HEADER } from './input.ts'

const DECISION_ID = /^[0-9A-Za-z-]{8,64}$/

/** For the guards, before anything reads the request as a policy would. */
export function toRawAttributes(request: CheckRequest): RawAttributes {
  const { source, request: inner } = request.attributes ?? {}
  return {
    protocol: 'http',
    path: inner?.http?.path,
    host: inner?.http?.host,
    method: inner?.http?.method,
    peer: source?.principal,
  }
}

/** For the rules. `source.principal` counts only when it is a SPIFFE id: Envoy falls back to DNS names and subjects. */
export function toRequestAttributes(request: CheckRequest): RequestAttributes {
  const { source, destination, request: inner } = request.attributes ?? {}
  const http = inner?.http
  const principal = source?.principal
  return {
    protocol: 'http',
    principal: principal?.startsWith('spiffe://') ? principal : undefined,
    sourceAddress: socketOf(source)?.address,
    destinationPort: socketOf(destination)?.port ?? 0,
    ...(http === undefined
      ? {}
      : { method: http.method, path: http.path, host: http.host, headers: http.headers }),
  }
}

/** For the log. `traced` is the span of the question, which beats what the caller said. `newId` makes the decision's id when Envoy sent none of the right form. */
export function toRequestSummary(
  request: CheckRequest,
  newId: () => string,
  traced?: string,
): RequestSummary {
  const { source, request: inner } = request.attributes ?? {}
  const http = inner?.http
  const sent = http?.headers[DECISION_ID_HEADER] ?? ''
  const socket = socketOf(source)
  const traceparent = traced ?? http?.headers.traceparent
  return {
    decisionId: DECISION_ID.test(sent) ? sent : newId(),
    requestedBy: socket === undefined ? '' : `${socket.address}:${socket.port}`,
    ...(source === undefined || source.principal === '' ? {} : { source: source.principal }),
    ...(http === undefined ? {} : { method: http.method, path: http.path, host: http.host }),
    ...(traceparent === undefined ? {} : { traceparent }),
  }
}

function socketOf(
  peer: AttributeContext_Peer | undefined,
): { readonly address: string; readonly port: number } | undefined {
  const address = peer?.address?.address
  if (address?.case !== 'socketAddress') return undefined
  const port = address.value.portSpecifier
  return { address: address.value.address, port: port.case === 'portValue' ? port.value : 0 }
}
