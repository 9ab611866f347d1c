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

/**
 * Throws ERR_TOKEN_INVALID, ERR_PEER_FORBIDDEN, ERR_CA_NOT_READY (not known yet, or nobody to ask), ERR_RATE_LIMITED (too
 * many ask).
 */
export async function attestByPodToken(
  parts: AttestationParts,
  claim: Claim,
  proof: PodTokenProof,
): Promise<Attested> {
  const { pods } = parts
  if (pods === undefined) throw invalid('this controller knows no pods; use a join token')
  const owner = await review(parts, pods, claim, proof)
  if (owner === undefined)
    throw invalid('the token is not, or no more, that of a pod, for the audience postern-ca')
  if (owner === 'unanswered') return renewBySvid(parts, pods, claim)
  return parts.locked(owner.podUid, () => {
    const workload = checkOwner(parts, pods, owner)
    if (pods.podOf(owner.podUid)?.nodeName !== owner.nodeName)
      throw forbidden('the token was made for another node than its pod is on')
    return issue(parts, pods, claim, { workload, by: 'pod' })
  })
}

/** A flood of tokens is no flood of questions to the API server. */
async function review(
  parts: AttestationParts,
  pods: PodWitness,
  claim: Claim,
  proof: PodTokenProof,
) {
  const { address = 'somewhere' } = claim.caller
  // Who is at no pod's address gets nothing by any token. A kubelet tells the address a moment after the start.
  if (!pods.isPodAddress(address)) throw notReady(`${address} is no pod's address that is known`)
  return parts.reviews.pass(address, async () => {
    checkWaiting(claim)
    return pods.review(proof.token)
  })
}

/**
 * While the API server is away nobody can say whose a token is: a pod that was last known alive, at its own address, then
 * has one SVID more for the SVID that it shows. That one buys no other without a token (`isProvisional`), so that a
 * stolen key is worth one lifetime more at most, whatever the outage lasts.
 */
function renewBySvid(parts: AttestationParts, pods: PodWitness, claim: Claim): Promise<Attested> {
  const { peer } = claim.caller
  if (peer === undefined) throw notReady('the API server does not answer whose token it is')
  if (peer.isProvisional !== false)
    throw notReady('the API server does not answer, and the SVID was had by an SVID alone')
  return parts.locked(peer.workloadUid, async () => {
    const workload = parts.directory.workloadOf({ uid: peer.workloadUid })
    if (workload === undefined || pods.podOf(peer.workloadUid) === undefined)
      throw notReady('the SVID is of no pod that is known now')
    if (peer.spiffeId !== workload.spiffeId)
      throw forbidden('the SVID is of another SPIFFE id than its pod has')
    return issue(parts, pods, claim, { workload, by: 'svid' })
  })
}

async function issue(
  parts: AttestationParts,
  pods: PodWitness,
  claim: Claim,
  { workload, by }: { readonly workload: AttestedWorkload; readonly by: 'pod' | 'svid' },
): Promise<Attested> {
  checkPlace(pods, claim, workload)
  if (claim.csr.uri !== workload.spiffeId)
    throw forbidden('the request must ask for the SPIFFE id of its pod, and for nothing else')
  const identity = checkClaim(parts, claim, workload)
  const svid = await signSvid(parts, claim, { workload, identity, isProvisional: by === 'svid' })
  // Time has passed: one that is to end by now gets nothing more.
  checkPlace(pods, claim, workload)
  checkWaiting(claim)
  const { namespace, name, uid: workloadUid } = workload
  const fields = { workload: `${namespace}/${name}`, workloadUid }
  if (by === 'pod') parts.log.info(fields, 'pod attested')
  else parts.log.warn({ ...fields, code: 'ERR_CA_NOT_READY' }, 'pod attested by its SVID alone')
  return { svid, by, trustBundle: parts.authority.trustBundle, workload }
}

/** The workload that the token's pod is: by UID, and the same in every name. */
function checkOwner(
  { directory, authority }: AttestationParts,
  pods: PodWitness,
  owner: TokenOwner,
): AttestedWorkload {
  const { namespace, podName, podUid, serviceAccount } = owner
  const workload = directory.workloadOf({ uid: podUid })
  if (workload === undefined || pods.podOf(podUid) === undefined)
    throw notReady(`pod ${namespace}/${podName} is no workload yet, or no more`)
  const spiffeId = `spiffe://${authority.trustDomain}/ns/${namespace}/sa/${serviceAccount}`
  const isSame =
    workload.namespace === namespace && workload.name === podName && workload.spiffeId === spiffeId
  if (!isSame) throw forbidden('the token is of another pod than the one with its UID')
  return workload
}

function checkPlace(pods: PodWitness, { caller }: Claim, { uid }: AttestedWorkload): void {
  const pod = pods.podOf(uid)
  if (pod === undefined || pod.isTerminating) throw forbidden('the pod is about to end')
  // Its kubelet tells the address a moment after the sidecar has started.
  if (pod.addresses.length === 0) throw notReady('the address of the pod is not known yet')
  if (caller.address === undefined || !pod.addresses.includes(caller.address))
    throw forbidden(`the token came from ${caller.address}, which is not its pod's address`)
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_TOKEN_INVALID', message)
}

function notReady(message: string): MeshError {
  return new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' })
}

function forbidden(message: string): MeshError {
  return new MeshError('ERR_PEER_FORBIDDEN', message)
}
