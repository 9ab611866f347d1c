/**
 * A workload's policy bundle. In: the workload and the modules that its policies name. Out: a PolicyBundle.
 * A workload without Rego has one as well: lane 3 evaluates the whole set.
 */
import { canonicalJson, packBundle, sha256Hex } from '../../../common/bundle.ts'
import { type Workload, workloadKey } from '../model/mesh.ts'

export interface Bundle {
  /** UID of the workload that is entitled to it. */
  readonly workloadUid: string
  /** `namespace/name`. */
  readonly workload: string
  readonly revision: string
  readonly archive: Uint8Array
  /** Tokens of common/features.ts that a sidecar must know. Absent: none. */
  readonly requires?: readonly string[]
}

/** Equal for equal bundles: tells, without packing, whether a bundle is still right. */
export function bundleKey(workload: Workload): string {
  return sha256Hex(canonicalJson([workload.uid, workload.policySet]))
}

/** `wasm` holds every module that the policy set names; a missing one is a bug (ERR_BUNDLE_INVALID). */
export async function buildBundle(
  workload: Workload,
  wasm: ReadonlyMap<string, Uint8Array>,
): Promise<Bundle> {
  const { requires } = workload.policySet
  const { revision, archive } = await packBundle({ set: workload.policySet, wasm })
  return {
    workloadUid: workload.uid,
    workload: workloadKey(workload),
    revision,
    archive,
    ...(requires === undefined ? {} : { requires }),
  }
}
