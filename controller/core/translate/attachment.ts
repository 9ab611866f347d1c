/**
 * Which workloads an object applies to (DESIGN §4 "Attachment"): by targetRefs, by labels, by namespace, or the mesh.
 * Targets lie in the object's own namespace; in the controller's namespace labels, or none, reach the whole mesh.
 * A target that selects nothing is a problem of the object, and opens nothing.
 */
import type { ObjectRef, Problem } from '../../../common/errors.ts'
import { remember } from '../../../common/remember.ts'
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
  /** Absent: `service` alone. */
  readonly services?: readonly string[]
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
}

/** The names of the services, in its namespace, that the subject is an endpoint of. */
export function servicesOf({ services, service }: Subject): readonly string[] {
  return services ?? [service]
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
  /** Where in the index everything that it selects stands: a little more than it selects, mostly. */
  readonly place: string | undefined
  readonly selects: (subject: Subject) => boolean
}

type Attachable = AuthorizationPolicy | BackendTrafficPolicy | PeerAuthentication

/** Resolves what `object` selects among `subjects`. */
export function attach<S extends Subject>(
  object: Attachable,
  subjects: readonly S[],
): Attachment<S> {
  const { scope, targets } = readTargets(object)
  const index = indexOf(subjects)
  const near = (t: Target) =>
    t.place === undefined ? index.all : (index.byPlace.get(t.place) ?? [])
  const hits = targets.map((t) => near(t).filter(([, s]) => t.selects(s)))
  const empty = targets.filter((_, i) => hits[i]?.length === 0)
  const selected = hits.length === 1 ? (hits[0] ?? []) : inOrder(hits.flat())
  return {
    scope,
    selected: selected.flatMap(([i]) => subjects[i] ?? []),
    problems: empty.map((target) => selectsNothing(refOf(object), target)),
  }
}

type Placed = readonly [order: number, subject: Subject]

interface Index {
  readonly all: readonly Placed[]
  readonly byPlace: ReadonlyMap<string, readonly Placed[]>
}

function inOrder(hits: readonly Placed[]): readonly Placed[] {
  return [...new Map(hits)].sort(([a], [b]) => a - b)
}

/** Thousands of policies look for their workloads among thousands. */
const indexOf = remember((subjects: readonly Subject[]): Index => {
  const byPlace = new Map<string, Placed[]>()
  const all = subjects.map((subject, order): Placed => [order, subject])
  for (const placed of all) {
    for (const place of placesOf(placed[1])) {
      const list = byPlace.get(place)
      if (list === undefined) byPlace.set(place, [placed])
      else list.push(placed)
    }
  }
  return { all, byPlace }
})

function placesOf(subject: Subject): string[] {
  const { namespace, serviceAccount, labels } = subject
  return [
    placeOf('namespace', namespace),
    ...servicesOf(subject).map((service) => placeOf('Service', namespace, service)),
    placeOf('ServiceAccount', namespace, serviceAccount),
    ...Object.entries(labels).map(([key, value]) => placeOf('label', key, value)),
  ]
}

function placeOf(...parts: readonly string[]): string {
  return parts.join('\0')
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
      {
        field: '',
        words: isMeshWide ? 'the mesh' : `namespace "${namespace}"`,
        place: isMeshWide ? undefined : placeOf('namespace', namespace),
        selects: inReach,
      },
    ],
  }
}

function refTarget(
  namespace: string,
  target: Pick<AuthorizationPolicyTargetRef, 'kind' | 'name'>,
  index: number,
): Target {
  const hits = (s: Subject) =>
    (target.kind === 'Service' && servicesOf(s).includes(target.name)) ||
    (target.kind === 'ServiceAccount' && s.serviceAccount === target.name)
  return {
    field: `spec.targetRefs[${index}]`,
    words: `${target.kind} "${target.name}" in namespace "${namespace}"`,
    place: placeOf(target.kind, namespace, target.name),
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
    place: placeOf('label', ...(labels[0] ?? ['', ''])),
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
    remedy: 'check the name, the labels and the namespace against the workloads',
  }
}
