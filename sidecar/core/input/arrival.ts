/** How a CheckRequest came: until when Envoy waits for the answer, and whether the body that it should carry is there. */
import { CHECK_TIMEOUT_MS } from '../../../common/check-timeout.ts'
import type { CheckRequest } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'

const TIMEOUT_NS = BigInt(CHECK_TIMEOUT_MS) * 1_000_000n

/** Epoch nanoseconds. The request's own time is its headers' arrival: with a body, Envoy asks later by the upload's length. */
export function deadlineOf(request: CheckRequest, receivedNs: bigint): bigint {
  const { time, http } = request.attributes?.request ?? {}
  const isBodiless = (http?.body ?? '') === '' && (http?.rawBody.length ?? 0) === 0
  if (time === undefined || !isBodiless) return receivedNs + TIMEOUT_NS
  const startNs = time.seconds * 1_000_000_000n + BigInt(time.nanos)
  return (startNs < receivedNs ? startNs : receivedNs) + TIMEOUT_NS
}

/** A body was announced and is not there: Envoy buffers none of an upgrade. A websocket's own handshake is a GET without. */
export function lacksItsBody(request: CheckRequest): boolean {
  const http = request.attributes?.request?.http
  if (http === undefined || http.body !== '' || http.rawBody.length > 0) return false
  const { headers } = http
  if (Number(headers['content-length'] ?? '0') > 0) return true
  if (headers.upgrade === undefined) return false
  return headers['transfer-encoding'] !== undefined || http.method !== 'GET'
}
