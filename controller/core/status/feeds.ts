/**
 * Which workloads an object has a part in: those whose proxies must have it before it is enforced, and whose refusal
 * concerns it. In: the model that is served and the objects that are in force. Out: workloads, in the model's order.
 */
import type { AcceptedObject, ObjectKey } from '../accept/objects.ts'
import { isKind } from '../accept/objects.ts'
import type { AuthorizationPolicy, BackendTrafficPolicy, PosternObject } from '../crd/index.ts'
import type { Model, Workload } from '../model/mesh.ts'
import { attach } from '../translate/attachment.ts'

export function workloadsOf(
  object: PosternObject,
  model: Model,
  inForce: ReadonlyMap<ObjectKey, AcceptedObject>,
): readonly Workload[] {
  const workloads = [...model.workloads.values()]
  if (isKind(object, 'AuthorizationPolicy')) return workloads.filter((w) => hasPolicy(w, object))
  if (isKind(object, 'PolicyLibrary')) {
    const users = [...inForce.values()].flatMap(({ object: other }) =>
      isKind(other, 'AuthorizationPolicy') && uses(other, object) ? [other] : [],
    )
    return workloads.filter((w) => users.some((policy) => hasPolicy(w, policy)))
  }
  if (isKind(object, 'PeerAuthentication')) {
    return attach(object, workloads).selected
  }
  if (isKind(object, 'BackendTrafficPolicy')) {
    const selected = new Set(attach(object, workloads).selected)
    return workloads.filter((w) => selected.has(w) || calls(w, object))
  }
  if (isKind(object, 'WorkloadEntry')) {
    return workloads.filter(
      (w) => w.name === object.metadata.name && w.namespace === object.metadata.namespace,
    )
  }
  return workloads
}

function hasPolicy(workload: Workload, { metadata }: AuthorizationPolicy): boolean {
  return workload.policySet.policies.some(
    (p) => p.name === metadata.name && p.namespace === metadata.namespace,
  )
}

/** Its callers have it, beside the service's own workloads. */
function calls(workload: Workload, { metadata, spec }: BackendTrafficPolicy): boolean {
  return workload.outbound.some(
    ({ destination }) =>
      destination.namespace === metadata.namespace &&
      spec.targetRefs.some(({ name }) => name === destination.service),
  )
}

function uses(policy: AuthorizationPolicy, library: PosternObject): boolean {
  const { rego } = policy.spec
  if (rego === undefined || policy.metadata.namespace !== library.metadata.namespace) return false
  const names = [rego.libraryRef?.name, ...(rego.libraries ?? []).map((l) => l.name)]
  return names.includes(library.metadata.name)
}
