/** Names and order of custom resources, as translation needs them: who is meant, and who came first. */
import type { ObjectRef } from '../../../common/errors.ts'
import type { ObjectMeta } from '../crd/index.ts'

interface WithMeta {
  readonly metadata: ObjectMeta
}

/** The namespace of a namespaced object; the API server and the manifests' reader always set it. */
export function namespaceOf(object: WithMeta): string {
  return object.metadata.namespace ?? 'default'
}

export function refOf(object: WithMeta & { readonly kind: string }): ObjectRef {
  const { namespace, name } = object.metadata
  return namespace === undefined
    ? { kind: object.kind, name }
    : { kind: object.kind, namespace, name }
}

/** Code-unit order: the same on every machine, unlike `localeCompare`. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Oldest first; equal or unknown ages by namespace, then name. Decides ties and conflicts. */
export function compareAge(a: WithMeta, b: WithMeta): number {
  const ageA = createdAt(a.metadata)
  const ageB = createdAt(b.metadata)
  if (ageA !== ageB) return ageA < ageB ? -1 : 1
  return (
    compareText(namespaceOf(a), namespaceOf(b)) || compareText(a.metadata.name, b.metadata.name)
  )
}

/** Epoch milliseconds; an object without a readable time counts as newest. */
function createdAt(metadata: ObjectMeta): number {
  const time = Date.parse(metadata.creationTimestamp ?? '')
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time
}
