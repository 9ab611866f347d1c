/**
 * Which edits of policies wait for the Rego of another: while a DENY or a `required` ALLOW of a workload is being
 * compiled, nothing of that workload's policies may loosen, or an ALLOW would be in force without the DENY that came
 * with it. In: proposals and what is chosen of each. Out: what keeps its last good version, and for whose sake.
 */
import { canonicalJson } from '../../../common/bundle.ts'
import type { AuthorizationPolicy, PosternObject } from '../crd/index.ts'
import type { Model, Workload } from '../model/mesh.ts'
import { attach } from '../translate/attachment.ts'
import { type Artifact, isKind, type ObjectKey } from './objects.ts'
import type { Proposal } from './propose.ts'

export interface HoldInput {
  readonly proposals: ReadonlyMap<ObjectKey, Proposal>
  readonly pending: ReadonlySet<ObjectKey>
  /** Whether the newest version is chosen; of a deleted object: whether it goes. */
  readonly isNewest: (key: ObjectKey) => boolean
  readonly artifacts: ReadonlyMap<ObjectKey, Artifact>
  readonly model: Model | undefined
}

/** What must wait, and the policy that it waits for. Empty when nothing restricting is being compiled. */
export function findHeld(input: HoldInput): ReadonlyMap<ObjectKey, ObjectKey> {
  const held = new Map<ObjectKey, ObjectKey>()
  const workloads = [...(input.model?.workloads.values() ?? [])]
  const awaited = awaitedOn(input, workloads)
  if (awaited.size === 0) return held
  for (const [key, proposal] of input.proposals) {
    if (!input.isNewest(key) || !mayLoosen(proposal, input)) continue
    const reach = versionsOf(proposal).flatMap((object) => reachOf(object, workloads))
    const by = reach.map((workload) => awaited.get(workload)).find((k) => k !== undefined)
    if (by !== undefined) held.set(key, by)
  }
  return held
}

/** The first restricting policy that each workload waits for. */
function awaitedOn(
  { pending, proposals }: HoldInput,
  workloads: readonly Workload[],
): ReadonlyMap<Workload, ObjectKey> {
  const awaited = new Map<Workload, ObjectKey>()
  for (const key of pending) {
    const object = proposals.get(key)?.candidate?.object
    if (object === undefined || !restricts(object)) continue
    for (const workload of reachOf(object, workloads)) {
      if (!awaited.has(workload)) awaited.set(workload, key)
    }
  }
  return awaited
}

/**
 * Of a new policy: whether it grants. Any change may loosen, and so may the end of what restricts; whether an ALLOW's
 * change takes more than it gives isn't asked. The end of an ALLOW revokes, unless what no ALLOW names is allowed.
 */
function mayLoosen({ key, candidate, accepted, isDeleted }: Proposal, input: HoldInput): boolean {
  if (isDeleted === true && accepted !== undefined) {
    return restricts(accepted.object) || input.model?.mesh.defaultAction === 'ALLOW'
  }
  if (candidate === undefined) return false
  const { object } = candidate
  if (isKind(object, 'Mesh')) return accepted !== undefined && changes(accepted.object, object)
  if (!isKind(object, 'AuthorizationPolicy')) return false
  if (accepted === undefined)
    return object.spec.mode === 'Enforce' && object.spec.action === 'ALLOW'
  const artifact = input.artifacts.get(key)
  return (
    changes(accepted.object, object) ||
    canonicalJson(artifact ?? null) !== canonicalJson(accepted.artifact ?? null)
  )
}

function changes(before: PosternObject, after: PosternObject): boolean {
  return canonicalJson(before.spec) !== canonicalJson(after.spec)
}

function restricts(object: PosternObject): object is AuthorizationPolicy {
  if (!isKind(object, 'AuthorizationPolicy') || object.spec.mode !== 'Enforce') return false
  return object.spec.action === 'DENY' || object.spec.required
}

function versionsOf({ candidate, accepted }: Proposal): readonly PosternObject[] {
  return [candidate?.object, accepted?.object].filter((o) => o !== undefined)
}

/** The Mesh's defaults reach all. */
function reachOf(object: PosternObject, workloads: readonly Workload[]): readonly Workload[] {
  if (isKind(object, 'Mesh')) return workloads
  return isKind(object, 'AuthorizationPolicy') ? attach(object, workloads).selected : []
}
