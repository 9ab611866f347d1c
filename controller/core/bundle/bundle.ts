/**
 * A workload's policy bundle. In: the workload and the modules that its policies name. Out: a PolicyBundle.
 * A workload without Rego has one as well: lane 3 evaluates the whole set.
 * Its revision is known at once; the archive is packed when somebody fetches it, which is once for each revision.
 */
import { packBundle, revisionOf } from '../../../common/bundle.ts'
import type { PolicySet } from '../../../common/policy-set.ts'
import { type Workload, workloadKey } from '../model/mesh.ts'

export interface Bundle {
  /** UID of the workload that is entitled to it. */
  readonly workloadUid: string
  /** `namespace/name`. */
  readonly workload: string
  readonly revision: string
  /** Equal for equal revisions. */
  readonly pack: () => Promise<Uint8Array>
  /** Tokens of common/features.ts that a sidecar must know. Absent: none. */
  readonly requires?: readonly string[]
}

/** `module`: the bytes of each module that the policy set names; a missing or another one is a bug (ERR_BUNDLE_INVALID). */
export function buildBundle(
  { uid, namespace, name, policySet }: Workload,
  module: (digest: string) => Uint8Array | undefined,
): Bundle {
  const { requires } = policySet
  const content = { set: policySet, wasm: modulesOf(policySet, module) }
  return {
    workloadUid: uid,
    workload: workloadKey({ namespace, name }),
    revision: revisionOf(content),
    pack: async () => (await packBundle(content)).archive,
    ...(requires === undefined ? {} : { requires }),
  }
}

function modulesOf(
  { policies }: PolicySet,
  module: (digest: string) => Uint8Array | undefined,
): ReadonlyMap<string, Uint8Array> {
  const named = policies.flatMap((p) => (p.rego === undefined ? [] : [p.rego.wasmDigest]))
  return new Map(
    named.flatMap((digest) => {
      const bytes = module(digest)
      return bytes === undefined ? [] : [[digest, bytes] as const]
    }),
  )
}
