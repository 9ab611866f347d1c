/**
 * grpc-js service definitions made from protobuf-es descriptors: one codec for every gRPC service of both programs.
 * In: a generated service descriptor. Out: what `Server.addService` and `makeClientConstructor` take.
 */
import { type DescService, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'

/** Keys are the methods' names as in the .proto (`Check`, `StreamAccessLogs`). */
export function toServiceDefinition(service: DescService): ServiceDefinition {
  const definition: Record<string, MethodDefinition<unknown, unknown>> = {}
  for (const method of service.methods) {
    definition[method.name] = {
      path: `/${service.typeName}/${method.name}`,
      requestStream:
        method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
      responseStream:
        method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
      requestSerialize: (m) =>
        Buffer.from(toBinary(method.input, m as MessageShape<typeof method.input>)),
      requestDeserialize: (bytes) => fromBinary(method.input, bytes),
      responseSerialize: (m) =>
        Buffer.from(toBinary(method.output, m as MessageShape<typeof method.output>)),
      responseDeserialize: (bytes) => fromBinary(method.output, bytes),
      originalName: method.localName,
    }
  }
  return definition as ServiceDefinition
}
