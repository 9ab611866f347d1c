/**
 * Why a proxy is not given the newest configuration of its workload: its sidecar doesn't know a feature of it.
 * In: what the proxy says of itself, what is served. Out: one line that names who lacks what, and which policies need it.
 */
import { featuresOfPolicy, missingFeatures } from '../../../common/features.ts'
import { policyId } from '../../../common/policy-set.ts'
import type { Workload } from '../model/mesh.ts'

/** What of a proxy's state goes in. */
export interface ProxyAbilities {
  readonly connected: boolean
  readonly version: string
  readonly features: readonly string[]
}

const SHOWN_POLICIES = 5

/** Undefined: nothing is withheld, or nobody is there to be told. */
export function whyWithheld(
  workload: Workload,
  proxy: ProxyAbilities | undefined,
  requires: readonly string[] | undefined,
): string | undefined {
  if (proxy?.connected !== true) return undefined
  const lacks = missingFeatures(requires, proxy.features)
  if (lacks.length === 0) return undefined
  const needing = workload.policySet.policies
    .filter((policy) => missingFeatures(featuresOfPolicy(policy), proxy.features).length > 0)
    .map(policyId)
  const by =
    needing.length === 0 ? '' : ` (needed by ${needing.slice(0, SHOWN_POLICIES).join(', ')})`
  const version = proxy.version === '' ? '' : ` ${proxy.version}`
  const who = `the sidecar${version} of ${workload.namespace}/${workload.name}`
  return `withheld: ${who} lacks ${lacks.join(', ')}${by}; what it has stays, upgrade it`
}
