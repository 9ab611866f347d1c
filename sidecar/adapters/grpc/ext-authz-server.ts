/**
 * envoy.service.auth.v3.Authorization on a Unix socket that only this user can open.
 * Says no more than `check` does; a request that can't be decoded, or a bug, is a gRPC error, which Envoy
 * (failure_mode_allow: false) takes for a refusal.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { MeshError } from '../../../common/errors.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  Authorization,
  type CheckRequest,
  type CheckResponse,
} from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import type { Check } from '../../check.ts'

/** Initial metadata by which Envoy's configuration says whether it buffers bodies: `1` or `0`. */
export const BODY_METADATA = 'x-postern-body'

/** sun_path holds 108 bytes with its final NUL (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107

export interface ExtAuthzServer {
  /** Takes no new calls, waits `graceMs` for those under way, then cuts them. */
  stop(graceMs: number): Promise<void>
}

/** Replaces a socket that a former process left. Errors: ERR_CONFIG when the path is too long or taken. */
export async function startExtAuthzServer(options: {
  readonly socketPath: string
  readonly check: Check
}): Promise<ExtAuthzServer> {
  const { socketPath, check } = options
  removeOldSocket(socketPath)
  const server = new Server()
  server.addService(toServiceDefinition(Authorization), { Check: toHandler(check) })
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    )
  })
  chmodSync(socketPath, 0o600)
  return { stop: (graceMs) => stopServer(server, graceMs) }
}

function toHandler(check: Check) {
  return (
    call: ServerUnaryCall<CheckRequest, CheckResponse>,
    reply: sendUnaryData<CheckResponse>,
  ): void => {
    let response: CheckResponse
    try {
      response = check(call.request, {
        isBodyBuffered: isBodyBuffered(call.metadata),
        ...traceOf(call.metadata),
        isCancelled: () => call.cancelled,
      })
    } catch {
      reply({ code: status.INTERNAL, details: 'ERR_INTERNAL' })
      return
    }
    reply(null, response)
  }
}

/** Absent means no: a request must not be judged by a body that was never sent. */
function isBodyBuffered(metadata: Metadata): boolean {
  return metadata.get(BODY_METADATA)[0] === '1'
}

function traceOf(metadata: Metadata): { readonly traceparent?: string } {
  const [traceparent] = metadata.get('traceparent')
  return typeof traceparent === 'string' ? { traceparent } : {}
}

function removeOldSocket(path: string): void {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES)
    throw new MeshError(
      'ERR_CONFIG',
      `socket path ${path} is longer than ${MAX_SOCKET_PATH_BYTES} bytes; choose a shorter run directory`,
    )
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new MeshError('ERR_CONFIG', `${path} is there and is no socket`)
  unlinkSync(path)
}

async function stopServer(server: Server, graceMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown()
      resolve()
    }, graceMs)
    server.tryShutdown(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
