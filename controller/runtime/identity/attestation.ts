/**
 * Who gets an SVID: the CSR service's decisions, without gRPC. In: a signing request and a proof (join token or
 * re-attestation credential). Out: SVID, trust bundle and the next credential, or a MeshError that says why not.
 * Nothing is answered before it is stored; nothing is told about a token or credential before it was proven.
 * Source: DESIGN §3, proto/postern/identity/v1alpha1/identity.proto.
 */
import { parseJoinToken } from '../../../common/attestation.ts'
import { parseCertificate, serialHex, workloadUidOf } from '../../../common/certificate.ts'
import { DerError } from '../../../common/der.ts'
import { MeshError } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import { parseCsr } from '../../core/ca/csr.ts'
import { holdsSecret } from '../../core/ca/registry.ts'
import { attestByCredential } from './attest-by-credential.ts'
import { attestByPodToken } from './attest-by-pod-token.ts'
import { attestByToken } from './attest-by-token.ts'
import type { AttestationCaller, AttestationParts, AttestationRequest, Attested } from './claim.ts'
import type { RandomBytes } from './ports.ts'

const INSTANCE_ID = /^[A-Za-z0-9_-]{16,64}$/

export interface Attestation {
  /** A nonce for one credential proof, good for 60 s. */
  challenge(): Uint8Array
  /**
   * Whether the proof names a token or credential that was given out, by cheap looks only (no signature is checked).
   * For turning away floods: who has neither can't pass, and who has one is not locked out by others' failures.
   */
  isPlausible(request: AttestationRequest): boolean
  /** Throws MeshError; never answers what isn't stored. */
  attest(request: AttestationRequest, caller: AttestationCaller): Promise<Attested>
}

export function createAttestation(
  parts: AttestationParts & { readonly randomBytes: RandomBytes },
): Attestation {
  return {
    challenge: () => parts.nonces.create(parts.randomBytes(8), parts.clock.monotonic()),
    isPlausible: ({ proof }) => {
      // Only the API server knows a pod's token, and asking it is what a flood must not do.
      if (proof.kind === 'pod') return false
      return proof.kind === 'token'
        ? isKnownToken(parts, proof.token)
        : isKnownCredential(parts, proof.certificate)
    },
    async attest(request, caller) {
      const settings = parts.directory.settings()
      if (settings === undefined || settings.trustDomain !== parts.authority.trustDomain) {
        const message = 'there is no mesh to issue certificates for yet'
        throw new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' })
      }
      if (!INSTANCE_ID.test(request.instanceId))
        throw new MeshError('ERR_CSR_INVALID', 'instance_id is not 16 to 64 letters and digits')
      const claim = { settings, csr: parseCsr(request.csr), request, caller }
      if (request.proof.kind === 'pod') return attestByPodToken(parts, claim, request.proof)
      return request.proof.kind === 'token'
        ? attestByToken(parts, claim, request.proof)
        : attestByCredential(parts, claim, request.proof)
    },
  }
}

function isKnownToken({ records }: AttestationParts, text: Secret<string>): boolean {
  const token = parseJoinToken(text.reveal())
  return token !== undefined && holdsSecret(records.get(), token.id, token.secret.reveal())
}

/** Serial numbers have 126 random bits, so that a known one is had only from the certificate itself. */
function isKnownCredential({ records }: AttestationParts, der: Uint8Array): boolean {
  try {
    const certificate = parseCertificate(der)
    const record = records.get().credentials.get(workloadUidOf(certificate) ?? '')
    const serial = serialHex(certificate)
    return record !== undefined && (record.current === serial || record.next === serial)
  } catch (error) {
    if (error instanceof DerError) return false
    throw error
  }
}
