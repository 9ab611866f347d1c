/**
 * OTLP's TraceService for Envoy, served beside ADS on the sidecar's socket. In: Envoy's spans, encoded. Out: the same
 * bytes to `onSpans`, with whom they are for. Answers at once: Envoy has no use for waiting.
 * Source: opentelemetry/proto/collector/trace/v1/trace_service.proto.
 */
import type { ServerUnaryCall, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js'
import { COLLECTOR_METADATA, SERVICE_METADATA } from '../../../common/telemetry.ts'
import type { SpanTarget } from '../../runtime/span-relay.ts'
import { OTLP_EXPORT } from './otlp-client.ts'

const NOTHING = Buffer.alloc(0)

/** Messages stay bytes: what Envoy says goes on as it is. `onSpans` must not throw. */
export function createTraceService(onSpans: (request: Uint8Array, target: SpanTarget) => void) {
  const service: ServiceDefinition = {
    Export: {
      path: OTLP_EXPORT,
      requestStream: false,
      responseStream: false,
      requestSerialize: (bytes: Buffer) => bytes,
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: (bytes: Buffer) => bytes,
      responseDeserialize: (bytes: Buffer) => bytes,
    },
  }
  const Export = (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>): void => {
    const said = (key: string) => String(call.metadata.get(key)[0] ?? '')
    const target = { collector: said(COLLECTOR_METADATA), service: said(SERVICE_METADATA) }
    if (target.collector !== '') onSpans(call.request, target)
    // An empty message: all was taken.
    reply(null, NOTHING)
  }
  return { service, implementation: { Export } }
}
