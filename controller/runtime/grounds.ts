/**
 * What an explanation about a workload is made of: what its proxy enforces and what is newest, each with the very bytes
 * that Envoy and sidecar were given, and where in the user's files each policy and rule stands.
 * In: history, proxy state, the reconciler's view. Out: plain JSON for the admin socket. It decides nothing.
 */
import { formatRef, type SourceLocation } from '../../common/errors.ts'
import { type PolicySet, policyId } from '../../common/policy-set.ts'
import { TYPE_URLS } from '../../common/xds.ts'
import { type InboundPort, workloadKey } from '../core/model/mesh.ts'
import type { Given, History } from './history.ts'
import type { ProxyState } from './ports.ts'
import type { View } from './reconcile.ts'

/** One version. `roles`: `enforced`, `newest`, or both. */
export interface GroundsVersion {
  readonly roles: readonly string[]
  readonly generation: string
  readonly revision: string
  readonly trustDomain: string
  readonly inbound: readonly InboundPort[]
  /** The deciding filters that Envoy has, base64 of a TypedExtensionConfig each, by name. */
  readonly extensions: Readonly<Record<string, string>>
  /** The sidecar's policy bundle, base64 of the archive. */
  readonly archive: string
}

export interface Grounds {
  readonly workload: string
  readonly nodeId: string
  readonly spiffeId: string
  readonly service: string
  readonly connected: boolean
  /** The newest comes last. One when the proxy enforces the newest, or nothing that is kept. */
  readonly versions: readonly GroundsVersion[]
  /** By policy and rule id. */
  readonly locations: Readonly<Record<string, SourceLocation>>
}

export async function toGrounds(
  nodeId: string,
  { history, state, view }: { history: History; state: ProxyState | undefined; view: View },
): Promise<Grounds | undefined> {
  const newest = history.newest(nodeId)
  if (newest === undefined) return undefined
  const { workload } = newest
  const enforced = enforcedOf(nodeId, history, state)
  const isSame =
    enforced?.xds.snapshot.version === newest.snapshot.version &&
    enforced.policies.bundle.revision === newest.bundle.revision
  const versions = [
    ...(enforced === undefined || isSame ? [] : [await toVersion(['enforced'], enforced)]),
    await toVersion(isSame ? ['enforced', 'newest'] : ['newest'], {
      xds: newest,
      policies: newest,
    }),
  ]
  return {
    workload: workloadKey(workload),
    nodeId,
    spiffeId: workload.spiffeId,
    service: `${workload.namespace}/${workload.service}`,
    connected: state?.connected === true,
    versions,
    locations: Object.assign(
      {},
      ...[newest, enforced?.policies].map((given) =>
        given === undefined ? {} : locationsOf(given.workload.policySet, view),
      ),
    ) as Grounds['locations'],
  }
}

interface Enforced {
  readonly xds: Given
  readonly policies: Given
}

/** Envoy's configuration and the sidecar's bundle come apart, so each is looked up by itself. */
function enforcedOf(
  nodeId: string,
  history: History,
  state: ProxyState | undefined,
): Enforced | undefined {
  if (state?.connected !== true) return undefined
  const xds = history.withGeneration(nodeId, state.enforcedGeneration)
  const policies = history.withRevision(nodeId, state.bundleRevision)
  return xds === undefined || policies === undefined ? undefined : { xds, policies }
}

async function toVersion(
  roles: readonly string[],
  { xds, policies }: Enforced,
): Promise<GroundsVersion> {
  const configs = xds.snapshot.resources.get(TYPE_URLS.extensionConfig) ?? new Map()
  const archive = await policies.bundle.pack()
  return {
    roles,
    generation: xds.snapshot.version,
    revision: policies.bundle.revision,
    trustDomain: xds.mesh.trustDomain,
    inbound: xds.workload.inbound,
    extensions: Object.fromEntries(
      [...configs.values()].map((r) => [r.name, Buffer.from(r.value).toString('base64')]),
    ),
    archive: Buffer.from(archive).toString('base64'),
  }
}

/** Of each policy that is in force as the files have it; its rules too when the files still say the same. */
function locationsOf(set: PolicySet, view: View): Record<string, SourceLocation> {
  const locations: Record<string, SourceLocation> = {}
  const proposals = new Map(view.proposals.proposals.map((p) => [p.key, p]))
  for (const policy of set.policies) {
    const { namespace, name } = policy
    const key = formatRef({ kind: 'AuthorizationPolicy', namespace, name })
    const accepted = view.inForce.get(key)
    if (accepted === undefined) continue
    locations[policyId(policy)] = accepted.source
    const candidate = proposals.get(key)?.candidate
    const isCurrent = candidate?.object.metadata.generation === accepted.object.metadata.generation
    if (candidate === undefined || !isCurrent) continue
    for (const [i, rule] of (policy.rules ?? []).entries()) {
      locations[rule.id] = candidate.locate(`spec.rules[${i}]`)
    }
  }
  return locations
}
