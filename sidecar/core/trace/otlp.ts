/**
 * The little that the sidecar reads of OTLP messages that only pass through it, without decoding them.
 * In: encoded messages, from Envoy or from the collector. Out: numbers.
 * Source: opentelemetry/proto/collector/trace/v1/trace_service.proto.
 */
import { BinaryReader } from '@bufbuild/protobuf/wire'

const VARINT = 0
const LENGTH_DELIMITED = 2

/** How many spans are in an ExportTraceServiceRequest; 0 for bytes that are none. */
export function countSpans(request: Uint8Array): number {
  try {
    return messagesOf(request, 1)
      .flatMap((resourceSpans) => messagesOf(resourceSpans, 2))
      .reduce((sum, scopeSpans) => sum + messagesOf(scopeSpans, 2).length, 0)
  } catch {
    return 0
  }
}

/** `partial_success.rejected_spans` of an ExportTraceServiceResponse; 0: all were taken. */
export function rejectedSpans(response: Uint8Array): number {
  const [partial] = messagesOf(response, 1)
  if (partial === undefined) return 0
  const reader = new BinaryReader(partial)
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field === 1 && wireType === VARINT) return Number(reader.int64())
    reader.skip(wireType, field)
  }
  return 0
}

/** The contents of a message's fields of this number that are messages themselves. */
function messagesOf(message: Uint8Array, number: number): readonly Uint8Array[] {
  const reader = new BinaryReader(message)
  const found: Uint8Array[] = []
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field === number && wireType === LENGTH_DELIMITED) found.push(reader.bytes())
    else reader.skip(wireType, field)
  }
  return found
}
