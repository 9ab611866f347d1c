/**
 * A decision of the sidecar as a span: the child of Envoy's span of the question, where the trace is recorded at all.
 * In: the facts of a decision. Out: a plain value that goes from thread to thread, and OTLP's encoding of many.
 * Source: W3C Trace Context; opentelemetry/proto/collector/trace/v1/trace_service.proto.
 */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { ExportTraceServiceRequestSchema } from '../../../proto/gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.js'
import {
  type KeyValue,
  KeyValueSchema,
} from '../../../proto/gen/opentelemetry/proto/common/v1/common_pb.js'
import { ResourceSchema } from '../../../proto/gen/opentelemetry/proto/resource/v1/resource_pb.js'
import {
  Span_SpanKind,
  type SpanSchema,
  Status_StatusCode,
} from '../../../proto/gen/opentelemetry/proto/trace/v1/trace_pb.js'
import type { DecisionFacts } from '../decision-log/record.ts'

export interface DecisionSpan {
  /** Lower-case hex. */
  readonly traceId: string
  readonly parentId: string
  readonly spanId: string
  /** Epoch nanoseconds. */
  readonly startNs: bigint
  readonly endNs: bigint
  readonly attributes: Readonly<Record<string, string>>
  /** Error code; undefined: it was decided. */
  readonly error?: string
}

const SAMPLED = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f][13579bdf](?:-|$)/
const HANDLER_TIME = 'timer_server_handler_ns'
const SCOPE = 'postern'
const NAME = 'postern.decide'

/** Undefined: the trace is not recorded. `spanId` is 16 hex digits, new. */
export function toDecisionSpan(
  facts: DecisionFacts,
  newSpanId: () => string,
): DecisionSpan | undefined {
  const { request, verdict, timeNs, metrics, revision } = facts
  const [, traceId, parentId] = SAMPLED.exec(request.traceparent ?? '') ?? []
  if (traceId === undefined || parentId === undefined) return undefined
  const { policy, rule, reason, allowed, error } = verdict
  return {
    traceId,
    parentId,
    spanId: newSpanId(),
    startNs: timeNs,
    endNs: timeNs + BigInt(metrics[HANDLER_TIME] ?? 0),
    attributes: {
      'postern.decision_id': request.decisionId,
      'postern.result': allowed ? 'allow' : 'deny',
      'postern.policy': policy,
      'postern.reason': reason,
      ...(rule === undefined ? {} : { 'postern.rule': rule }),
      ...(revision === undefined ? {} : { 'postern.bundle_revision': revision }),
    },
    ...(error === undefined ? {} : { error: error.code }),
  }
}

/** An ExportTraceServiceRequest. `service` is what Envoy calls the workload in the same traces. */
export function encodeSpans(service: string, spans: readonly DecisionSpan[]): Uint8Array {
  const message = create(ExportTraceServiceRequestSchema, {
    resourceSpans: [
      {
        resource: create(ResourceSchema, { attributes: [attribute('service.name', service)] }),
        // The package's definitions have an old name for what is `scope_spans` now: the same numbers on the wire.
        instrumentationLibrarySpans: [
          { instrumentationLibrary: { name: SCOPE }, spans: spans.map(toSpan) },
        ],
      },
    ],
  })
  return toBinary(ExportTraceServiceRequestSchema, message)
}

function toSpan(span: DecisionSpan): MessageInitShape<typeof SpanSchema> {
  const { traceId, parentId, spanId, startNs, endNs, attributes, error } = span
  return {
    traceId: Buffer.from(traceId, 'hex'),
    parentSpanId: Buffer.from(parentId, 'hex'),
    spanId: Buffer.from(spanId, 'hex'),
    name: NAME,
    kind: Span_SpanKind.INTERNAL,
    startTimeUnixNano: startNs,
    endTimeUnixNano: endNs,
    attributes: [
      ...Object.entries(attributes).map(([key, value]) => attribute(key, value)),
      ...(error === undefined ? [] : [attribute('error.type', error)]),
    ],
    ...(error === undefined ? {} : { status: { code: Status_StatusCode.ERROR, message: error } }),
  }
}

function attribute(key: string, value: string): KeyValue {
  return create(KeyValueSchema, { key, value: { value: { case: 'stringValue', value } } })
}
