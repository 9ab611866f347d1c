/**
 * The sidecar's way to the controller's CSR service, over TLS 1.3 that proves the controller before anything is sent.
 * First contact: a bare handshake fetches the root that the join token pins. After that: gRPC whose chain OpenSSL
 * verifies against known roots, and whose leaf must be the controller's. No proxy from the environment is used.
 */

import type { X509Certificate } from 'node:crypto'
import { connect, createSecureContext, type PeerCertificate, type TLSSocket } from 'node:tls'
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import type { Clock } from '../../../common/clock.ts'
import { MESH_ERROR_CODES, MeshError, type MeshErrorCode } from '../../../common/errors.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { toPem } from '../../../common/pem.ts'
import {
  type AttestRequest,
  AttestRequestSchema,
  type AttestResponse,
  CertificateAuthority,
  ChallengeRequestSchema,
  type ChallengeResponse,
} from '../../../proto/gen/postern/identity/v1alpha1/identity_pb.js'
import type { AttestAnswer } from '../../core/identity/answer.ts'
import { findControllerFault, findPinnedRoot } from '../../core/identity/controller-trust.ts'
import type { Svid } from '../../ports.ts'
import type { AttestCall, ControllerClient, ControllerTrust } from '../../runtime/identity-ports.ts'
import { toConnectError, unavailable, untrusted } from './connect-error.ts'

/** Sent as SNI, since the controller's address may be an IP; the SPIFFE id is what counts. */
const SERVER_NAME = 'postern-controller'
/** One attestation; the controller may ping a live sidecar for 2 s meanwhile. */
const CALL_TIMEOUT_MS = 10_000
const HANDSHAKE_TIMEOUT_MS = 5_000
const MAX_CHAIN = 8

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.ssl_target_name_override': SERVER_NAME,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  // Connections are never shared with a channel of other credentials.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.max_receive_message_length': 1024 * 1024,
}

/** `controller`: `HOST:PORT` or `[IPv6]:PORT`. Throws ERR_CONFIG for anything else. */
export function createCsrClient(options: {
  readonly controller: string
  readonly clock: Clock
}): ControllerClient {
  const address = parseAddress(options.controller)
  return {
    async fetchTrust(rootFingerprint, signal) {
      const chain = await fetchChain(address, signal)
      const found = findPinnedRoot(chain, rootFingerprint, options.clock.now())
      if ('fault' in found) throw untrusted(options.controller, found.fault)
      return { trustDomain: found.trustDomain, roots: [found.root] }
    },
    async attest(trust, call, { svid, signal }) {
      const fault: { found?: string } = {}
      const client = createClient(options.controller, trust, svid, fault)
      try {
        return toAnswer(await attestBy(client, call, signal))
      } catch (error) {
        if (fault.found !== undefined) throw untrusted(options.controller, fault.found)
        throw toMeshError(error, options.controller)
      } finally {
        client.close()
      }
    },
  }
}

async function attestBy(
  client: grpc.Client,
  call: AttestCall,
  signal: AbortSignal,
): Promise<AttestResponse> {
  const { csr, instanceId, proof } = call
  if (proof.kind === 'token') {
    const value = { token: proof.token.reveal(), credentialCsr: proof.credentialCsr }
    const joinToken = { case: 'joinToken', value } as const
    return attestRequest(client, { csr, instanceId, proof: joinToken }, signal)
  }
  if (proof.kind === 'pod') {
    const podToken = { case: 'podToken', value: { token: proof.token.reveal() } } as const
    return attestRequest(client, { csr, instanceId, proof: podToken }, signal)
  }
  const { nonce } = await unary<ChallengeResponse>(
    client,
    'Challenge',
    create(ChallengeRequestSchema),
    signal,
  )
  const value = { certificate: proof.certificate, nonce, signature: proof.proveBy(nonce) }
  return attestRequest(client, { csr, instanceId, proof: { case: 'credential', value } }, signal)
}

function attestRequest(
  client: grpc.Client,
  fields: Parameters<typeof create<typeof AttestRequestSchema>>[1],
  signal: AbortSignal,
): Promise<AttestResponse> {
  const request: AttestRequest = create(AttestRequestSchema, fields)
  return unary<AttestResponse>(client, 'Attest', request, signal)
}

function unary<Response>(
  client: grpc.Client,
  method: string,
  request: unknown,
  signal: AbortSignal,
): Promise<Response> {
  const definition = SERVICE[method]
  if (definition === undefined) throw new RangeError(`no method ${method}`)
  return new Promise((resolve, reject) => {
    const call = client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      { deadline: Date.now() + CALL_TIMEOUT_MS },
      (error, response) => {
        signal.removeEventListener('abort', cancel)
        if (error !== null || response === undefined) reject(error)
        else resolve(response as Response)
      },
    )
    const cancel = () => call.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    if (signal.aborted) cancel()
  })
}

const SERVICE = toServiceDefinition(CertificateAuthority)

function createClient(
  controller: string,
  trust: ControllerTrust,
  svid: Svid | undefined,
  fault: { found?: string },
): grpc.Client {
  const context = createSecureContext({
    ca: trust.roots.map(toPem),
    minVersion: 'TLSv1.3',
    ...(svid && {
      cert: svid.certificateChain.map(toPem).join(''),
      key: svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }),
    }),
  })
  const credentials = grpc.credentials.createFromSecureContext(context, {
    rejectUnauthorized: true,
    // Called after OpenSSL verified the chain; the host name does not count, the SPIFFE id does.
    checkServerIdentity: (_: string, certificate: PeerCertificate) => {
      const found = findControllerFault(certificate.raw, trust.trustDomain)
      if (found === undefined) return undefined
      fault.found = found
      return new Error(found)
    },
  })
  return new grpc.Client(`dns:///${controller}`, credentials, CHANNEL_OPTIONS)
}

/** The certificates that the other end presents, leaf first, DER. Nothing is trusted or sent. */
function fetchChain(
  address: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({
      ...address,
      servername: SERVER_NAME,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      // The chain is checked against the token's fingerprint by the caller.
      rejectUnauthorized: false,
    })
    const fail = (cause: unknown) => {
      socket.destroy()
      reject(unavailable(`${address.host}:${address.port}`, cause))
    }
    const abort = () => fail(signal.reason)
    socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => fail(new Error('the handshake took too long')))
    socket.on('error', fail)
    socket.on('close', () => signal.removeEventListener('abort', abort))
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) return abort()
    socket.on('secureConnect', () => {
      const chain = chainOf(socket.getPeerX509Certificate())
      socket.destroy()
      resolve(chain)
    })
  })
}

function chainOf(leaf: X509Certificate | undefined): Uint8Array[] {
  const chain: Uint8Array[] = []
  let next = leaf
  while (next !== undefined && chain.length < MAX_CHAIN) {
    chain.push(next.raw)
    next = next.issuerCertificate
  }
  return chain
}

function toAnswer(response: AttestResponse): AttestAnswer {
  return {
    certificateChain: response.certificateChain,
    trustBundle: response.trustBundle,
    credential: response.credential,
    spiffeId: response.spiffeId,
    workload: {
      namespace: response.workloadNamespace,
      name: response.workloadName,
      uid: response.workloadUid,
    },
  }
}

/** The controller's own code from a status text, or what the transport's failure means. */
function toMeshError(error: unknown, controller: string): MeshError {
  if (error instanceof MeshError) return error
  const details = (error as Partial<grpc.ServiceError>).details ?? String(error)
  const [, code, message] = /^(ERR_[A-Z_]+): (.*)$/s.exec(details) ?? []
  if (code !== undefined && isMeshErrorCode(code))
    return new MeshError(code, message ?? '', { retry: 'backoff' })
  return toConnectError(controller, error)
}

function isMeshErrorCode(code: string): code is MeshErrorCode {
  return (MESH_ERROR_CODES as readonly string[]).includes(code)
}

function parseAddress(text: string): { host: string; port: number } {
  const [, ipv6, name, port] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text) ?? []
  const host = ipv6 ?? name
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw new MeshError('ERR_CONFIG', `the controller's address is HOST:PORT, not ${text}`)
  return { host, port: Number(port) }
}
