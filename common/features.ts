/**
 * Features that came after 0.1, as tokens: what a program says that it understands, and what a configuration needs.
 * A proxy of an older version must never read a policy without the one term that closes it, so the controller withholds
 * from each proxy what needs a token that it didn't name, and a sidecar refuses a bundle that needs one that it lacks.
 *
 * Adding a field to PolicySet, or a resource that leans on the sidecar or its bootstrap: give it a token here, say in
 * `featuresOfPolicy` (or `controller/core/xds/snapshot.ts`) who needs it, and make the field optional in
 * `policy-set-shape.ts`: absent means as before, so that a new sidecar still reads what an older controller made.
 */
import type { Policy, PolicySet } from './policy-set.ts'

/** Every token of this version, with what it stands for. A token never changes its meaning. */
const FEATURE_DOCS = {
  'authz/chain':
    'what decides comes as one resource; records what Envoy allowed by the enforced rules alone',
  'log/outbound': 'tells outbound access logs from inbound ones',
  'port/serverFirst':
    'WorkloadEntry: inbound ports with `serverFirst`, which need internal listeners in Envoy’s bootstrap',
  'proxy/query': 'answers queries on the ProxyStatus stream',
  'when/source.ip': 'AuthorizationPolicy: `when` with the key `source.ip`',
} as const

export type Feature = keyof typeof FEATURE_DOCS

/** What this version understands; sorted. No list at all is 0.1. */
export const FEATURES: readonly Feature[] = (Object.keys(FEATURE_DOCS) as Feature[]).sort()

/** Where each side says so: HTTP header of the bundle API and gRPC metadata (a comma-separated list). */
export const FEATURES_HEADER = 'postern-features'
/** Names what a proxy is not given, and why; on a bundle answer. */
export const WITHHELD_HEADER = 'postern-withheld'
/** xDS node metadata. */
export const NODE_METADATA = { version: 'postern.version', features: 'postern.features' } as const

/** Bounds on what a peer's list may make us remember. */
const MAX_FEATURES = 256
const TOKEN = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/

/** Tokens of a header or of a list from the wire; what is no token is left out. */
export function parseFeatures(list: unknown): readonly string[] {
  const parts: readonly unknown[] = Array.isArray(list) ? list : [list]
  const words = parts.flatMap((part) => (typeof part === 'string' ? part.split(',') : []))
  const tokens = words
    .slice(0, MAX_FEATURES)
    .map((word) => word.trim())
    .filter((word) => TOKEN.test(word))
  return [...new Set(tokens)].sort()
}

/** What of `requires` is not among `has`; empty: all is understood. */
export function missingFeatures(
  requires: readonly string[] | undefined,
  has: readonly string[],
): readonly string[] {
  return (requires ?? []).filter((token) => !has.includes(token))
}

/** Why a controller with `has` is not to be followed by who enforces `requires`; undefined: it is. */
export function whyOlder(
  requires: readonly string[] | undefined,
  has: readonly string[],
): string | undefined {
  const lacks = missingFeatures(requires, has)
  if (lacks.length === 0) return undefined
  return `the controller does not know ${lacks.join(', ')}, which is in force here: it is older; upgrade it`
}

/** What a program must understand to evaluate this policy; sorted. */
export function featuresOfPolicy(policy: Policy): readonly Feature[] {
  const keys = (policy.rules ?? []).flatMap((rule) => rule.when.map(({ key }) => key.kind))
  return keys.includes('source.ip') ? ['when/source.ip'] : []
}

/** The set with what it requires written into it; nothing is written when 0.1 understands it. */
export function withRequires(set: Omit<PolicySet, 'requires'>): PolicySet {
  const requires = [...new Set(set.policies.flatMap(featuresOfPolicy))].sort()
  return requires.length === 0 ? set : { ...set, requires }
}
