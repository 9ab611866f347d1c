/**
 * Attestation of a pod: its service-account token, bound to it, buys an SVID, at every renewal anew. So a key that
 * outlives its pod is worth nothing, and neither is a token that was carried elsewhere: the API server must know the
 * pod, the controller must know it as a workload, and the connection must come from the pod's own address.
 */
import { MeshError } from '../../../common/errors.ts'
import {
  type AttestationParts,
  type Attested,
  type Claim,
  checkClaim,
  checkWaiting,
  type PodTokenProof,
  signSvid,
} from './claim.ts'
import type { AttestedWorkload, PodWitness, TokenOwner } from './ports.ts'

/** Throws ERR_TOKEN_INVALID, ERR_PEER_FORBIDDEN, ERR_CA_NOT_READY (not known yet, or nobody to ask). */
export async function attestByPodToken(
  parts: AttestationParts,
  claim: Claim,
  proof: PodTokenProof,
): Promise<Attested> {
  const { pods } = parts
  if (pods === undefined) throw invalid('this controller knows no pods; use a join token')
  const owner = await pods.review(proof.token)
  if (owner === undefined)
    throw invalid('the token is not, or no more, that of a pod, for the audience postern-ca')
  return parts.locked(owner.podUid, async () => {
    const workload = checkOwner(parts, pods, owner)
    checkPlace(pods, claim, owner)
    if (claim.csr.uri !== workload.spiffeId)
      throw forbidden('the request must ask for the SPIFFE id of its pod, and for nothing else')
    const identity = checkClaim(parts, claim, workload)
    const svid = await signSvid(parts, claim, { workload, identity })
    // Time has passed: one that is to end by now gets nothing more.
    checkPlace(pods, claim, owner)
    checkWaiting(claim)
    const { namespace, podName: name, podUid: workloadUid } = owner
    parts.log.info({ workload: `${namespace}/${name}`, workloadUid }, 'pod attested')
    return { svid, trustBundle: parts.authority.trustBundle, workload }
  })
}

/** The workload that the token's pod is: by UID, and the same in every name. */
function checkOwner(
  { directory, authority }: AttestationParts,
  pods: PodWitness,
  owner: TokenOwner,
): AttestedWorkload {
  const { namespace, podName, podUid, serviceAccount } = owner
  const workload = directory.workloadOf({ uid: podUid })
  if (workload === undefined || pods.podOf(podUid) === undefined) {
    const message = `pod ${namespace}/${podName} is no workload yet, or no more`
    throw new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' })
  }
  const spiffeId = `spiffe://${authority.trustDomain}/ns/${namespace}/sa/${serviceAccount}`
  const isSame =
    workload.namespace === namespace && workload.name === podName && workload.spiffeId === spiffeId
  if (!isSame) throw forbidden('the token is of another pod than the one with its UID')
  return workload
}

function checkPlace(pods: PodWitness, { caller }: Claim, { podUid }: TokenOwner): void {
  const pod = pods.podOf(podUid)
  if (pod === undefined || pod.isTerminating) throw forbidden('the pod is about to end')
  if (caller.address === undefined || !pod.addresses.includes(caller.address))
    throw forbidden(`the token came from ${caller.address}, which is not its pod's address`)
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_TOKEN_INVALID', message)
}

function forbidden(message: string): MeshError {
  return new MeshError('ERR_PEER_FORBIDDEN', message)
}
