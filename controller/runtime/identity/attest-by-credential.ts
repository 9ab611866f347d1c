/**
 * Every later attestation: renewal and restart. The credential is replaced by each use; an old one, or a use while
 * another process of the workload is live, means a copy, and revokes it (CONTRACT §wire 3).
 * Nothing is judged before the caller proved that it has the credential's key: else anybody who saw a certificate
 * could revoke it.
 */
import { MeshError } from '../../../common/errors.ts'
import { type Credential, isProof } from '../../core/ca/credential.ts'
import { judgeUse, recordUse, revoke } from '../../core/ca/registry.ts'
import {
  type AttestationParts,
  type Attested,
  type Claim,
  type CredentialProof,
  checkClaim,
  checkWaiting,
  signClaim,
} from './claim.ts'

/** Longer than the ping that `isLive` waits for (2 s). */
const LIVE_TIMEOUT_MS = 5_000

const REMEDY = 'create a new join token for it'

/** Throws ERR_CREDENTIAL_INVALID, ERR_CREDENTIAL_REVOKED, ERR_NONCE_INVALID, ERR_PEER_FORBIDDEN, ERR_STATE_WRITE. */
export async function attestByCredential(
  parts: AttestationParts,
  claim: Claim,
  proof: CredentialProof,
): Promise<Attested> {
  const credential = checkProof(parts, claim, proof)
  return parts.locked(credential.workloadUid, () => use(parts, claim, credential))
}

function checkProof(parts: AttestationParts, claim: Claim, proof: CredentialProof): Credential {
  const { authority, nonces, clock } = parts
  const credential = authority.readCredential(proof.certificate)
  const { nonce, signature } = proof
  if (!nonces.isFresh(nonce, clock.monotonic())) throw staleNonce()
  if (!isProof(credential, { nonce, signature, csr: claim.request.csr }))
    throw new MeshError('ERR_CREDENTIAL_INVALID', 'the proof is not signed by the credential')
  if (!nonces.use(nonce, clock.monotonic())) throw staleNonce()
  return credential
}

async function use(
  parts: AttestationParts,
  claim: Claim,
  credential: Credential,
): Promise<Attested> {
  const { workloadUid, serialNumber } = credential
  // Another replica may have answered the last one: judged by what is old here, a good one would seem a copy.
  await parts.records.refresh()
  await judge(parts, credential)
  const workload = parts.directory.workloadOf({ uid: workloadUid })
  if (workload === undefined)
    return revokeNow(parts, workloadUid, 'its WorkloadEntry was deleted or made anew')
  const identity = checkClaim(parts, claim, workload)
  if (await isLiveElsewhere(parts, workloadUid, claim.request.instanceId))
    return revokeNow(
      parts,
      workloadUid,
      'it was used by a second process while another one is live',
    )
  const credentialKey = credential.publicKey
  const attested = await signClaim(parts, claim, { workload, identity, credentialKey })
  checkWaiting(claim)
  const nextSerial = attested.credential.serialNumber
  await parts.records.commit((registry) =>
    recordUse(registry, workloadUid, {
      presented: serialNumber,
      nextSerial,
      nowMs: parts.clock.now(),
    }),
  )
  return attested
}

async function judge(parts: AttestationParts, credential: Credential): Promise<void> {
  const { kind } = judgeUse(parts.records.get(), credential.workloadUid, credential)
  if (kind === 'good') return
  if (kind === 'replayed')
    await revokeNow(parts, credential.workloadUid, 'an older copy of it was used')
  if (kind === 'superseded')
    throw revoked('the credential was replaced by that of a newer join token')
  if (kind === 'revoked') throw revoked(`the credential of this workload is revoked; ${REMEDY}`)
  throw new MeshError('ERR_CREDENTIAL_INVALID', `the credential is not known here; ${REMEDY}`)
}

/** Revokes, tells, and always throws ERR_CREDENTIAL_REVOKED. */
async function revokeNow(
  parts: AttestationParts,
  workloadUid: string,
  reason: string,
): Promise<never> {
  const { records, clock, log, onRevoked } = parts
  const workload = records.get().credentials.get(workloadUid)?.workload ?? ''
  const stored = records.commit((registry) => revoke(registry, workloadUid, reason, clock.now()))
  log.warn({ workload, workloadUid, reason }, 'credential revoked')
  onRevoked({ workload, workloadUid, reason })
  await stored
  throw revoked(`the credential is revoked: ${reason}; ${REMEDY}`)
}

async function isLiveElsewhere(
  parts: AttestationParts,
  workloadUid: string,
  instanceId: string,
): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = 'could not find out whether another process of the workload is live'
      reject(new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' }))
    }, LIVE_TIMEOUT_MS)
  })
  try {
    return await Promise.race([parts.isLive(workloadUid, instanceId), timeout])
  } finally {
    clearTimeout(timer)
  }
}

function staleNonce(): MeshError {
  const message = 'the nonce is not ours, used, or older than 60 s; ask for a new one'
  return new MeshError('ERR_NONCE_INVALID', message, { retry: 'backoff' })
}

function revoked(message: string): MeshError {
  return new MeshError('ERR_CREDENTIAL_REVOKED', message)
}
