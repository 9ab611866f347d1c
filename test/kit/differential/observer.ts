/**
 * A real ext_authz server on loopback. Stage `observe` keeps each CheckRequest and lets it pass: what Envoy shows an
 * authorizer. Stage `decide` is lane 3: it answers with the decision that the caller's function gives.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js'
import type { RawAttributes } from '../../../common/authz/guards.ts'
import type { RequestAttributes } from '../../../common/authz/request.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  Authorization,
  type CheckRequest,
  type CheckResponse,
  CheckResponseSchema,
} from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'

export interface Observer {
  readonly port: number
  /** Takes what was observed for the request with this `x-n`; undefined when Envoy refused it before. */
  take(id: string): CheckRequest | undefined
  stop(): void
}

/** `decide` says whether lane 3 allows; the request's headers `x-set` and `x-n` say which set and which request. */
export async function startObserver(decide: (check: CheckRequest) => boolean): Promise<Observer> {
  const seen = new Map<string, CheckRequest>()
  const server = new Server()
  server.addService(toServiceDefinition(Authorization), {
    Check(
      call: ServerUnaryCall<CheckRequest, CheckResponse>,
      reply: sendUnaryData<CheckResponse>,
    ): void {
      if (call.metadata.get('x-stage')[0] === 'observe') {
        seen.set(headersOf(call.request)['x-n'] ?? '', call.request)
        reply(null, answer(true))
      } else reply(null, answer(decide(call.request)))
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  return {
    port,
    take(id) {
      const check = seen.get(id)
      seen.delete(id)
      return check
    },
    stop: () => server.forceShutdown(),
  }
}

export function headersOf(check: CheckRequest): Readonly<Record<string, string>> {
  return check.attributes?.request?.http?.headers ?? {}
}

/** What the evaluator gets to know, from what Envoy says. */
export function toAttributes(check: CheckRequest): RequestAttributes {
  const { source, destination, request } = check.attributes ?? {}
  const http = request?.http
  return {
    protocol: 'http',
    principal: source?.principal || undefined,
    sourceAddress: socketAddress(source)?.address,
    destinationPort: portOf(destination),
    method: http?.method ?? '',
    path: http?.path ?? '',
    host: http?.host ?? '',
    headers: http?.headers ?? {},
  }
}

export function toRaw(check: CheckRequest): RawAttributes {
  const { source, request } = check.attributes ?? {}
  const { path, host, method } = request?.http ?? {}
  return { protocol: 'http', path, host, method, peer: source?.principal }
}

type Peer = NonNullable<NonNullable<CheckRequest['attributes']>['source']>

function socketAddress(peer: Peer | undefined) {
  const address = peer?.address?.address
  return address?.case === 'socketAddress' ? address.value : undefined
}

function portOf(peer: Peer | undefined): number {
  const specifier = socketAddress(peer)?.portSpecifier
  return specifier?.case === 'portValue' ? specifier.value : 0
}

function answer(allowed: boolean): CheckResponse {
  const httpResponse: MessageInitShape<typeof CheckResponseSchema>['httpResponse'] = allowed
    ? { case: 'okResponse', value: {} }
    : {
        case: 'deniedResponse',
        value: { headers: [{ header: { key: 'x-by', value: 'lane3' } }] },
      }
  return create(CheckResponseSchema, { status: { code: allowed ? 0 : 7 }, httpResponse })
}
