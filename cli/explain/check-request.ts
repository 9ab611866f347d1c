/**
 * The CheckRequest that Envoy would send to the sidecar about a request, as far as it can be told without sending one:
 * what is random (ids, ports, times of connections) is made up. In: the request as it arrives. Out: the message.
 * Source: Envoy CheckRequestUtils; compared with real ones by drills/explain.ts.
 */
import { create } from '@bufbuild/protobuf'
import { EXT_AUTHZ_MAX_BODY_BYTES } from '../../controller/core/xds/limits.ts'
import {
  type CheckRequest,
  CheckRequestSchema,
} from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'

export interface ArrivedRequest {
  readonly principal: string | undefined
  /** SPIFFE id of the callee. */
  readonly ownId: string
  readonly sourceAddress: string
  readonly address: string
  readonly port: number
  readonly transport: 'tls' | 'plaintext'
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** Some port: no policy should read it. */
const SOURCE_PORT = 40_000

export function toCheckRequest(
  request: ArrivedRequest,
  { readsBody, nowNs }: { readonly readsBody: boolean; readonly nowNs: bigint },
): CheckRequest {
  const { transport, principal, ownId, body } = request
  const isMesh = transport === 'tls'
  const shown = readsBody ? body.subarray(0, EXT_AUTHZ_MAX_BODY_BYTES) : new Uint8Array()
  const isPartial = shown.length < body.length
  return create(CheckRequestSchema, {
    attributes: {
      source: {
        ...socket(request.sourceAddress, SOURCE_PORT),
        ...(isMesh && principal !== undefined ? { principal } : {}),
      },
      destination: {
        ...socket(request.address, request.port),
        ...(isMesh ? { principal: ownId } : {}),
      },
      request: {
        time: { seconds: nowNs / 1_000_000_000n, nanos: Number(nowNs % 1_000_000_000n) },
        http: {
          id: '1',
          method: request.method,
          path: request.path,
          host: request.host,
          scheme: 'http',
          protocol: 'HTTP/1.1',
          headers: headersOf(request, readsBody ? String(isPartial) : undefined),
          size: BigInt(body.length),
          body: Buffer.from(shown).toString('utf8'),
        },
      },
      metadataContext: {},
      routeMetadataContext: {},
    },
  })
}

function socket(address: string, port: number) {
  const portSpecifier = { case: 'portValue' as const, value: port }
  const value = { address, portSpecifier }
  return { address: { address: { case: 'socketAddress' as const, value } } }
}

/** With what Envoy adds; what it takes away is gone already. */
function headersOf(request: ArrivedRequest, partial: string | undefined): Record<string, string> {
  return {
    ...request.headers,
    ':method': request.method,
    ':path': request.path,
    ':authority': request.host,
    ':scheme': 'http',
    ...(partial === undefined ? {} : { 'x-envoy-auth-partial-body': partial }),
  }
}
