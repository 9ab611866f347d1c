/**
 * OTLP over gRPC to the collector. In: encoded requests. Out: how many spans it refused, or why it could not be asked.
 * Source: OTLP specification, "OTLP/gRPC": which statuses are worth trying again, and `partial_success`.
 */
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { rejectedSpans } from '../../core/trace/otlp.ts'
import type { SpanSink } from '../../runtime/span-relay.ts'

export const OTLP_EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'
const TIMEOUT_MS = 10_000
const TRANSIENT: ReadonlySet<number> = new Set([
  ...[status.CANCELLED, status.DEADLINE_EXCEEDED, status.ABORTED, status.OUT_OF_RANGE],
  ...[status.UNAVAILABLE, status.DATA_LOSS, status.RESOURCE_EXHAUSTED],
])

export class OtlpClient implements SpanSink {
  #client: { readonly collector: string; readonly client: Client } | undefined

  export(collector: string, request: Uint8Array, signal: AbortSignal): Promise<number> {
    const client = this.#clientOf(collector)
    return new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        OTLP_EXPORT,
        (bytes: Uint8Array) => Buffer.from(bytes),
        rejectedSpans,
        request,
        new Metadata(),
        { deadline: Date.now() + TIMEOUT_MS },
        (error: ServiceError | null, rejected?: number) => {
          signal.removeEventListener('abort', cancel)
          if (error !== null) reject(error)
          else resolve(rejected ?? 0)
        },
      )
      const cancel = () => call.cancel()
      signal.addEventListener('abort', cancel)
    })
  }

  isTransient(error: unknown): boolean {
    return TRANSIENT.has((error as Partial<ServiceError>).code ?? -1)
  }

  close(): void {
    this.#client?.client.close()
    this.#client = undefined
  }

  #clientOf(collector: string): Client {
    if (this.#client?.collector !== collector) {
      this.close()
      const client = new Client(collector, credentials.createInsecure(), {
        'grpc.max_reconnect_backoff_ms': 5_000,
      })
      this.#client = { collector, client }
    }
    return this.#client?.client as Client
  }
}
