/**
 * First attestation of a workload: a join token buys an SVID and the first re-attestation credential.
 * The token is spent on the disk before the answer leaves, so that no crash makes it good for somebody else; the same
 * sidecar (same credential key, nothing confirmed yet) may ask again when the answer was lost.
 */
import { csrBinding, parseJoinToken } from '../../../common/attestation.ts'
import { MeshError } from '../../../common/errors.ts'
import { hashOfKey } from '../../core/ca/credential.ts'
import { parseCsr } from '../../core/ca/csr.ts'
import { checkToken, holdsSecret, spendToken, type TokenRecord } from '../../core/ca/registry.ts'
import {
  type AttestationParts,
  type Attested,
  type Claim,
  checkClaim,
  checkWaiting,
  signClaim,
  type TokenProof,
} from './claim.ts'

interface Presented {
  readonly id: string
  readonly secret: Uint8Array
  readonly keyHash: string
  readonly credentialKey: Uint8Array
}

/** Throws ERR_TOKEN_INVALID, ERR_TOKEN_EXPIRED, ERR_TOKEN_USED, ERR_CSR_INVALID, ERR_PEER_FORBIDDEN, ERR_STATE_WRITE. */
export async function attestByToken(
  parts: AttestationParts,
  claim: Claim,
  proof: TokenProof,
): Promise<Attested> {
  const presented = readProof(claim, proof)
  const { workloadUid } = await findToken(parts, presented)
  return parts.locked(workloadUid, () => spend(parts, claim, presented))
}

/** One that is not known here may have been made by another replica. */
async function findToken(parts: AttestationParts, presented: Presented): Promise<TokenRecord> {
  if (!holdsSecret(parts.records.get(), presented.id, presented.secret))
    await parts.records.refresh()
  return checkPresented(parts, presented)
}

async function spend(parts: AttestationParts, claim: Claim, presented: Presented) {
  await parts.records.refresh()
  const { workload: key, workloadUid } = checkPresented(parts, presented)
  const workload = parts.directory.workloadOf({ uid: workloadUid })
  if (workload === undefined) {
    const message = `the WorkloadEntry ${key} of this join token was deleted or made anew; create a new token`
    throw new MeshError('ERR_TOKEN_INVALID', message)
  }
  if (parts.pods?.podOf(workloadUid) !== undefined)
    throw new MeshError('ERR_TOKEN_INVALID', 'a pod is attested by its own token, and by no other')
  const identity = checkClaim(parts, claim, workload)
  const { credentialKey, keyHash } = presented
  const attested = await signClaim(parts, claim, { workload, identity, credentialKey })
  // The lock keeps other attestations of this workload out, but time has passed.
  checkPresented(parts, presented)
  checkWaiting(claim)
  const serialNumber = attested.credential.serialNumber
  const use = { keyHash, serialNumber, nowMs: parts.clock.now() }
  await parts.records.commit((registry) => spendToken(registry, presented.id, use))
  parts.log.info({ workload: key, workloadUid, tokenId: presented.id }, 'workload joined')
  return attested
}

function readProof(claim: Claim, proof: TokenProof): Presented {
  const token = parseJoinToken(proof.token.reveal())
  if (token === undefined)
    throw new MeshError(
      'ERR_TOKEN_INVALID',
      'that is no join token; create one with postern token create',
    )
  const credentialCsr = parseCsr(proof.credentialCsr)
  if (credentialCsr.challengePassword !== csrBinding(claim.request.csr))
    throw new MeshError(
      'ERR_CSR_INVALID',
      'the credential request is not bound to the SVID request',
    )
  const keyHash = hashOfKey(credentialCsr.publicKey)
  if (keyHash === hashOfKey(claim.csr.publicKey))
    throw new MeshError('ERR_CSR_INVALID', 'SVID and credential must have keys of their own')
  return {
    id: token.id,
    secret: token.secret.reveal(),
    keyHash,
    credentialKey: credentialCsr.publicKey,
  }
}

function checkPresented(parts: AttestationParts, presented: Presented): TokenRecord {
  const { keyHash } = presented
  const result = checkToken(parts.records.get(), presented, keyHash, parts.clock.now())
  if (!result.ok) throw new MeshError(result.code, result.message)
  return result.token
}
