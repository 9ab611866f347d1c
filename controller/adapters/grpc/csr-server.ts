/**
 * The gRPC face of attestation: messages in, domain calls, messages or status codes out. Bounds sizes, and turns away
 * who fails without end (an address, or a workload that shows its SVID), unless with a known token or credential: one
 * bad process must not lock out the others of its machine. Status texts begin with the MeshErrorCode, without secrets.
 * Source: proto/postern/identity/v1alpha1/identity.proto.
 */
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import * as grpc from '@grpc/grpc-js'
import type { Clock } from '../../../common/clock.ts'
import { MeshError, type MeshErrorCode } from '../../../common/errors.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { Secret } from '../../../common/secret.ts'
import {
  type AttestRequest,
  type AttestResponse,
  AttestResponseSchema,
  CertificateAuthority,
  type ChallengeRequest,
  type ChallengeResponse,
  ChallengeResponseSchema,
} from '../../../proto/gen/postern/identity/v1alpha1/identity_pb.js'
import { createAttempts } from '../../core/ca/attempts.ts'
import { MAX_CREDENTIAL_BYTES } from '../../core/ca/credential.ts'
import { MAX_CSR_BYTES } from '../../core/ca/csr.ts'
import { formatIp, parseIp } from '../../core/crd/net.ts'
import type { Attestation } from '../../runtime/identity/attestation.ts'
import type { AttestationRequest, Attested, CallerPeer } from '../../runtime/identity/claim.ts'
import type { Log } from '../../runtime/identity/ports.ts'

type Call<Request, Response> = grpc.ServerUnaryCall<Request, Response>

export interface CsrServerOptions {
  readonly attestation: Attestation
  /** The verified client certificate's, or undefined. */
  readonly peerOf: (call: Call<AttestRequest, AttestResponse>) => CallerPeer | undefined
  /** What is counted. */
  readonly meter?: {
    attested(proof: Attested['by']): void
    refusedAttestation(code: string): void
  }
  readonly clock: Clock
  readonly log: Log
}

interface Caller {
  readonly peer: CallerPeer | undefined
  /** Whose failures count together. */
  readonly who: string
  readonly address: string
}

const MAX_TOKEN_CHARACTERS = 512
/** A service-account token is a JWT of some 1,200 characters; keys and names may be longer. */
const MAX_POD_TOKEN_CHARACTERS = 8192

const STATUS_OF: Partial<Record<MeshErrorCode, grpc.status>> = {
  ERR_TOKEN_INVALID: grpc.status.UNAUTHENTICATED,
  ERR_TOKEN_EXPIRED: grpc.status.UNAUTHENTICATED,
  ERR_TOKEN_USED: grpc.status.UNAUTHENTICATED,
  ERR_CREDENTIAL_INVALID: grpc.status.UNAUTHENTICATED,
  ERR_CREDENTIAL_REVOKED: grpc.status.UNAUTHENTICATED,
  ERR_NONCE_INVALID: grpc.status.UNAUTHENTICATED,
  ERR_PEER_FORBIDDEN: grpc.status.PERMISSION_DENIED,
  ERR_CSR_INVALID: grpc.status.INVALID_ARGUMENT,
  ERR_RATE_LIMITED: grpc.status.RESOURCE_EXHAUSTED,
  ERR_CA_NOT_READY: grpc.status.UNAVAILABLE,
  ERR_STATE_WRITE: grpc.status.UNAVAILABLE,
}

/** Failures that count against the caller's address. */
const CALLERS_FAULT: ReadonlySet<grpc.status> = new Set([
  grpc.status.UNAUTHENTICATED,
  grpc.status.PERMISSION_DENIED,
  grpc.status.INVALID_ARGUMENT,
])

export function createCsrService(options: CsrServerOptions): {
  readonly service: grpc.ServiceDefinition
  readonly implementation: grpc.UntypedServiceImplementation
} {
  const attempts = createAttempts()
  const { attestation, meter, clock, log } = options
  const answer = async (
    call: Call<AttestRequest, AttestResponse>,
    { peer, who, address }: Caller,
  ) => {
    const isBlocked = attempts.isBlocked(who, clock.monotonic())
    const request = isBlocked ? readPlausible(call.request) : fromRequest(call.request)
    const isGone = () => call.cancelled
    const attested = await attestation.attest(request, { peer, isGone, address })
    meter?.attested(attested.by)
    return toResponse(attested)
  }
  /** Who has failed too often is heard with a proof that can be good, and with nothing else. */
  const readPlausible = (message: AttestRequest): AttestationRequest => {
    const request = readOrUndefined(message)
    if (request === undefined || !attestation.isPlausible(request)) throw rateLimited()
    return request
  }
  const note = (error: unknown, who: string, address: string) => {
    const { code } = toStatus(error)
    meter?.refusedAttestation(error instanceof MeshError ? error.code : 'ERR_INTERNAL')
    const fields = { err: error, remote: address }
    if (code === grpc.status.RESOURCE_EXHAUSTED) return
    if (CALLERS_FAULT.has(code)) attempts.addFailure(who, clock.monotonic())
    if (code === grpc.status.INTERNAL) log.error(fields, 'attestation failed')
    else log.warn(fields, 'attestation refused')
  }
  return {
    service: toServiceDefinition(CertificateAuthority),
    implementation: {
      Challenge: challengeWith(attestation),
      Attest(call: Call<AttestRequest, AttestResponse>, reply: grpc.sendUnaryData<AttestResponse>) {
        const address = addressOf(call.getPeer())
        const peer = options.peerOf(call)
        const who = peer?.workloadUid ?? address
        answer(call, { peer, who, address }).then(
          (response) => reply(null, response),
          (error: unknown) => {
            note(error, who, address)
            reply(toStatus(error))
          },
        )
      },
    },
  }
}

function challengeWith(attestation: Attestation) {
  return (
    _: Call<ChallengeRequest, ChallengeResponse>,
    reply: grpc.sendUnaryData<ChallengeResponse>,
  ) => reply(null, create(ChallengeResponseSchema, { nonce: attestation.challenge() }))
}

/** The status of an error. What is no MeshError of a known kind says nothing about itself. */
export function toStatus(error: unknown): { code: grpc.status; details: string } {
  if (error instanceof MeshError) {
    const code = STATUS_OF[error.code]
    if (code === grpc.status.UNAVAILABLE && error.code === 'ERR_STATE_WRITE')
      return { code, details: `${error.code}: the controller cannot write its state` }
    if (code !== undefined) return { code, details: `${error.code}: ${error.message}` }
  }
  return { code: grpc.status.INTERNAL, details: 'ERR_INTERNAL: the controller failed' }
}

function fromRequest(message: AttestRequest): AttestationRequest {
  const { csr, instanceId, proof } = message
  if (csr.length > MAX_CSR_BYTES) throw tooLarge('csr')
  if (proof.case === 'joinToken') {
    const { token, credentialCsr } = proof.value
    if (token.length > MAX_TOKEN_CHARACTERS) throw tooLarge('token')
    return { csr, instanceId, proof: { kind: 'token', token: new Secret(token), credentialCsr } }
  }
  if (proof.case === 'credential') {
    const { certificate, nonce, signature } = proof.value
    if (certificate.length > MAX_CREDENTIAL_BYTES) throw tooLarge('certificate')
    return { csr, instanceId, proof: { kind: 'credential', certificate, nonce, signature } }
  }
  if (proof.case === 'podToken') {
    const { token } = proof.value
    if (token.length > MAX_POD_TOKEN_CHARACTERS) throw tooLarge('token')
    return { csr, instanceId, proof: { kind: 'pod', token: new Secret(token) } }
  }
  throw new MeshError('ERR_CSR_INVALID', 'a join token, a credential or a pod token is required')
}

function readOrUndefined(message: AttestRequest): AttestationRequest | undefined {
  try {
    return fromRequest(message)
  } catch {
    return undefined
  }
}

function toResponse(attested: Attested): AttestResponse {
  const { svid, credential, trustBundle, workload } = attested
  return create(AttestResponseSchema, {
    certificateChain: [svid.der],
    trustBundle: [...trustBundle],
    credential: credential?.der ?? new Uint8Array(),
    spiffeId: workload.spiffeId,
    workloadUid: workload.uid,
    workloadNamespace: workload.namespace,
    workloadName: workload.name,
    notBefore: timestampFromMs(svid.notBeforeMs),
    notAfter: timestampFromMs(svid.notAfterMs),
  })
}

/** Without the port, canonical; IPv6 comes as `[address]:port` or `address:port` alike, IPv4 perhaps as IPv6. */
function addressOf(peer: string): string {
  const text = peer.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  const address = parseIp(text)
  return address === undefined ? text : formatIp(address)
}

function rateLimited(): MeshError {
  return new MeshError('ERR_RATE_LIMITED', 'too many failed attempts; try again in a minute', {
    retry: 'backoff',
  })
}

function tooLarge(field: string): MeshError {
  return new MeshError('ERR_CSR_INVALID', `${field} is too large`)
}
