/**
 * Which workloads an object applies to (DESIGN §4 "Attachment"): by targetRefs, by labels, by namespace, or the mesh.
 * Targets lie in the object's own namespace; in the controller's namespace labels, or none, reach the whole mesh.
 * A target that selects nothing is a problem of the object, and opens nothing.
 */
import type { ObjectRef, Problem } from '../../../common/errors.ts'
import { CONTROLLER_NAMESPACE } from '../../../common/spiffe-id.ts'
import type {
  AuthorizationPolicy,
  AuthorizationPolicyTargetRef,
  BackendTrafficPolicy,
  PeerAuthentication,
} from '../crd/index.ts'
import { namespaceOf, refOf } from './objects.ts'

/** How near to a workload an object stands; the nearer wins where one must. */
export type Scope = 'workload' | 'namespace' | 'mesh'

/** What attachment needs to know of a workload. */
export interface Subject {
  readonly namespace: string
  readonly name: string
  readonly service: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
}

export interface Attachment<S extends Subject> {
  readonly scope: Scope
  /** In the order of `subjects`, each once. */
  readonly selected: readonly S[]
  readonly problems: readonly Problem[]
}

interface Target {
  readonly field: string
  readonly words: string
  readonly selects: (subject: Subject) => boolean
}

type Attachable = AuthorizationPolicy | BackendTrafficPolicy | PeerAuthentication

/** Resolves what `object` selects among `subjects`. */
export function attach<S extends Subject>(
  object: Attachable,
  subjects: readonly S[],
): Attachment<S> {
  const { scope, targets } = readTargets(object)
  const empty = targets.filter((t) => !subjects.some((s) => t.selects(s)))
  return {
    scope,
    selected: subjects.filter((s) => targets.some((t) => t.selects(s))),
    problems: empty.map((target) => selectsNothing(refOf(object), target)),
  }
}

function readTargets(object: Attachable): { scope: Scope; targets: readonly Target[] } {
  const namespace = namespaceOf(object)
  const selector = object.kind === 'BackendTrafficPolicy' ? undefined : object.spec.selector
  const targetRefs = object.kind === 'PeerAuthentication' ? [] : (object.spec.targetRefs ?? [])
  if (targetRefs.length > 0) {
    return { scope: 'workload', targets: targetRefs.map((t, i) => refTarget(namespace, t, i)) }
  }
  const isMeshWide = namespace === CONTROLLER_NAMESPACE
  const inReach = (s: Subject) => isMeshWide || s.namespace === namespace
  const labels = Object.entries(selector?.matchLabels ?? {})
  if (labels.length > 0) {
    return { scope: 'workload', targets: [labelTarget(labels, inReach)] }
  }
  return {
    scope: isMeshWide ? 'mesh' : 'namespace',
    targets: [
      { field: '', words: isMeshWide ? 'the mesh' : `namespace "${namespace}"`, selects: inReach },
    ],
  }
}

function refTarget(
  namespace: string,
  target: Pick<AuthorizationPolicyTargetRef, 'kind' | 'name'>,
  index: number,
): Target {
  const hits = (s: Subject) =>
    (target.kind === 'Service' && s.service === target.name) ||
    (target.kind === 'ServiceAccount' && s.serviceAccount === target.name)
  return {
    field: `spec.targetRefs[${index}]`,
    words: `${target.kind} "${target.name}" in namespace "${namespace}"`,
    selects: (s) => s.namespace === namespace && hits(s),
  }
}

function labelTarget(
  labels: readonly (readonly [string, string])[],
  inReach: (s: Subject) => boolean,
): Target {
  return {
    field: 'spec.selector.matchLabels',
    words: `labels ${labels.map(([k, v]) => `${k}=${v}`).join(', ')}`,
    // Object.hasOwn: a label named like a property of Object must not match by inheritance.
    selects: (s) =>
      inReach(s) && labels.every(([k, v]) => Object.hasOwn(s.labels, k) && s.labels[k] === v),
  }
}

function selectsNothing(ref: ObjectRef, target: Target): Problem {
  return {
    code: 'ERR_TARGET_SELECTS_NOTHING',
    object: ref,
    field: target.field,
    message: `no workload is selected by ${target.words}`,
    remedy: 'check the name, the labels and the namespace against the WorkloadEntries',
  }
}
