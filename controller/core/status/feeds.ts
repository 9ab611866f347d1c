/**
 * Which workloads an object has a part in: those whose proxies must have it before it is enforced, and whose refusal
 * concerns it. In: the model that is served and the objects that are in force. Out: workloads, in the model's order.
 */
import { remember } from '../../../common/remember.ts'
import type { AcceptedObject, ObjectKey } from '../accept/objects.ts'
import { isKind } from '../accept/objects.ts'
import type { AuthorizationPolicy, BackendTrafficPolicy, PosternObject } from '../crd/index.ts'
import { type Model, type Workload, workloadKey } from '../model/mesh.ts'
import { attach } from '../translate/attachment.ts'

export function workloadsOf(
  object: PosternObject,
  model: Model,
  inForce: ReadonlyMap<ObjectKey, AcceptedObject>,
): readonly Workload[] {
  const { all, byPolicy } = indexOf(model)
  if (isKind(object, 'AuthorizationPolicy')) return byPolicy.get(policyId(object.metadata)) ?? []
  if (isKind(object, 'PolicyLibrary')) {
    const users = [...inForce.values()].flatMap(({ object: other }) =>
      isKind(other, 'AuthorizationPolicy') && uses(other, object)
        ? (byPolicy.get(policyId(other.metadata)) ?? [])
        : [],
    )
    const having = new Set(users)
    return all.filter((w) => having.has(w))
  }
  if (isKind(object, 'PeerAuthentication')) return attach(object, all).selected
  if (isKind(object, 'BackendTrafficPolicy')) {
    const selected = new Set(attach(object, all).selected)
    return all.filter((w) => selected.has(w) || calls(w, object))
  }
  if (isKind(object, 'WorkloadEntry')) {
    const { name, namespace = '' } = object.metadata
    const workload = model.workloads.get(workloadKey({ namespace, name }))
    return workload === undefined ? [] : [workload]
  }
  return all
}

/** Made once for each model: thousands of policies ask it. */
const indexOf = remember((model: Model) => {
  const all = [...model.workloads.values()]
  const byPolicy = new Map<string, Workload[]>()
  for (const workload of all) {
    for (const policy of workload.policySet.policies) {
      const id = policyId(policy)
      const having = byPolicy.get(id)
      if (having === undefined) byPolicy.set(id, [workload])
      else having.push(workload)
    }
  }
  return { all, byPolicy }
})

function policyId(policy: { readonly namespace?: string | undefined; readonly name: string }) {
  return `${policy.namespace}/${policy.name}`
}

/** Its callers have it, beside the service's own workloads. */
function calls(workload: Workload, { metadata, spec }: BackendTrafficPolicy): boolean {
  // A captured workload may call every service.
  if (workload.capture !== undefined) return true
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
