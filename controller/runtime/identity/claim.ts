/**
 * What every attestation comes to, whatever its proof: a claim by a caller on a workload's identity.
 * In: the claim, and the workload that the proof named. Out: signed certificates, or a MeshError.
 * It must never issue another identity than the workload's own, and never the controller's.
 */
import type { Clock } from '../../../common/clock.ts'
import { MeshError } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import {
  controllerSpiffeId,
  parseSpiffeId,
  type WorkloadIdentity,
} from '../../../common/spiffe-id.ts'
import { CONTROLLER_UID } from '../../../common/svid-extension.ts'
import type { ChallengeNonces } from '../../core/ca/challenge.ts'
import type { SigningRequest } from '../../core/ca/csr.ts'
import type { IssuedCertificate } from '../../core/ca/issue.ts'
import type { Peer } from '../../core/ca/peer.ts'
import type { Authority } from './authority.ts'
import type { KeyedLock } from './keyed-lock.ts'
import type {
  AttestedWorkload,
  IdentitySettings,
  IsLive,
  Log,
  PodWitness,
  WorkloadDirectory,
} from './ports.ts'
import type { Records } from './records.ts'
import type { ReviewGate } from './review-gate.ts'

export interface TokenProof {
  readonly kind: 'token'
  readonly token: Secret<string>
  readonly credentialCsr: Uint8Array
}

export interface CredentialProof {
  readonly kind: 'credential'
  readonly certificate: Uint8Array
  readonly nonce: Uint8Array
  readonly signature: Uint8Array
}

export interface PodTokenProof {
  readonly kind: 'pod'
  readonly token: Secret<string>
}

export interface AttestationRequest {
  readonly csr: Uint8Array
  readonly instanceId: string
  readonly proof: TokenProof | CredentialProof | PodTokenProof
}

export type CallerPeer = Pick<Peer, 'workloadUid'> &
  Partial<Pick<Peer, 'spiffeId' | 'isProvisional'>>

export interface AttestationCaller {
  /** Of the client certificate, when it was verified and is in force. */
  readonly peer: CallerPeer | undefined
  /** Whether nobody waits for the answer any more. */
  readonly isGone: () => boolean
  /** Canonical; where the connection comes from. Absent: unknown, so that it is no pod's. */
  readonly address?: string
}

export interface Attested {
  readonly svid: IssuedCertificate
  /** By what it was had. */
  readonly by: 'token' | 'credential' | 'pod' | 'svid'
  /** For the next time; a pod has its token. */
  readonly credential?: IssuedCertificate
  readonly trustBundle: readonly Uint8Array[]
  readonly workload: AttestedWorkload
}

export interface Revocation {
  /** `namespace/name`. */
  readonly workload: string
  readonly workloadUid: string
  readonly reason: string
}

export interface AttestationParts {
  readonly authority: Authority
  readonly records: Records
  readonly directory: WorkloadDirectory
  readonly isLive: IsLive
  /** Absent: there are no pods. */
  readonly pods?: PodWitness
  /** Before the API server is asked whose a token is. */
  readonly reviews: ReviewGate
  readonly nonces: ChallengeNonces
  readonly clock: Clock
  readonly log: Log
  /** One attestation at a time for each workload UID. */
  readonly locked: KeyedLock
  /** Called once for each revocation, after it counts. */
  readonly onRevoked: (event: Revocation) => void
}

export interface Claim {
  readonly settings: IdentitySettings
  readonly csr: SigningRequest
  readonly request: AttestationRequest
  readonly caller: AttestationCaller
}

/** The identity to issue. Throws ERR_PEER_FORBIDDEN when the caller is, or asks to be, somebody else. */
export function checkClaim(
  parts: AttestationParts,
  claim: Claim,
  workload: AttestedWorkload,
): WorkloadIdentity {
  const { peer } = claim.caller
  const { trustDomain } = parts.authority
  if (peer !== undefined && peer.workloadUid !== workload.uid)
    throw forbidden('the client certificate is of another workload than the proof')
  if (claim.csr.uri !== undefined && claim.csr.uri !== workload.spiffeId)
    throw forbidden('the request asks for another SPIFFE id than its workload has')
  const identity = parseSpiffeId(workload.spiffeId)
  if (identity === undefined || identity.trustDomain !== trustDomain)
    throw forbidden('the workload has no SPIFFE id of this trust domain')
  if (workload.spiffeId === controllerSpiffeId(trustDomain) || workload.uid === CONTROLLER_UID)
    throw forbidden('the identity of the controller is issued to nobody')
  return identity
}

/** Signs what a checked claim gets. Nothing is stored or answered yet. */
export async function signClaim(
  parts: AttestationParts,
  claim: Claim,
  issue: {
    readonly workload: AttestedWorkload
    readonly identity: WorkloadIdentity
    /** SubjectPublicKeyInfo of the credential's key, DER. */
    readonly credentialKey: Uint8Array
  },
): Promise<Attested & { readonly credential: IssuedCertificate }> {
  const { authority } = parts
  const { workload, identity, credentialKey } = issue
  const svid = await signSvid(parts, claim, { workload, identity })
  const credential = await authority.signCredential({
    workloadUid: workload.uid,
    publicKey: credentialKey,
  })
  const by = claim.request.proof.kind
  return { svid, credential, by, trustBundle: authority.trustBundle, workload }
}

export function signSvid(
  { authority }: AttestationParts,
  { csr, settings }: Claim,
  {
    workload,
    identity,
    isProvisional = false,
  }: { workload: AttestedWorkload; identity: WorkloadIdentity; isProvisional?: boolean },
): Promise<IssuedCertificate> {
  return authority.signSvid({
    isProvisional,
    identity,
    workloadUid: workload.uid,
    publicKey: csr.publicKey,
    lifetimeSeconds: settings.svidLifetimeSeconds,
    maxLifetimeSeconds: settings.maxSvidLifetimeSeconds,
  })
}

/** A caller that has gone must leave no trace: what it would have been given would count as known to it. */
export function checkWaiting(claim: Claim): void {
  if (claim.caller.isGone())
    throw new MeshError('ERR_CA_NOT_READY', 'the caller has gone', { retry: 'backoff' })
}

function forbidden(message: string): MeshError {
  return new MeshError('ERR_PEER_FORBIDDEN', message)
}
