/**
 * What the controller may do in a cluster, each verb with its reason: the one list from which the reference page, the
 * chart's roles and the tests' are made. What isn't here the API server refuses.
 */
import { ROOTS_NAME } from './roots.ts'

export interface Permission {
  readonly group: string
  readonly resources: readonly string[]
  /** Absent: all of them. */
  readonly names?: readonly string[]
  readonly verbs: readonly string[]
  /** In its own namespace only, or anywhere. */
  readonly scope: 'namespace' | 'cluster'
  readonly reason: string
}

export const LEASE_NAME = 'postern-controller'
/** The Secret of the authority's keys. */
export const KEYS_NAME = 'postern-ca'

export function permissionsFor(plurals: readonly string[]): readonly Permission[] {
  return [...OBJECTS(plurals), ...CLUSTER, ...ROOTS, ...WEBHOOKS, ...OWN]
}

const OBJECTS = (plurals: readonly string[]): readonly Permission[] => [
  {
    group: 'postern.dev',
    resources: plurals,
    verbs: ['list', 'watch'],
    scope: 'cluster',
    reason: 'they say what the mesh shall be; nothing but their status is ever written',
  },
  {
    group: 'postern.dev',
    resources: plurals.map((plural) => `${plural}/status`),
    verbs: ['patch'],
    scope: 'cluster',
    reason: 'conditions, by server-side apply; the leader alone',
  },
]

const CLUSTER: readonly Permission[] = [
  {
    group: '',
    resources: ['pods'],
    verbs: ['list', 'watch'],
    scope: 'cluster',
    reason: 'who is a workload, with which identity and address; whose token it is',
  },
  {
    group: '',
    resources: ['services'],
    verbs: ['list', 'watch'],
    scope: 'cluster',
    reason: 'what callers call, which pods a policy for a Service means',
  },
  {
    group: 'discovery.k8s.io',
    resources: ['endpointslices'],
    verbs: ['list', 'watch'],
    scope: 'cluster',
    reason: 'where a Service is, and which of its pods are ready',
  },
  {
    group: '',
    resources: ['namespaces'],
    verbs: ['list', 'watch'],
    scope: 'cluster',
    reason: 'whose pods should have a sidecar',
  },
  {
    group: 'authentication.k8s.io',
    resources: ['tokenreviews'],
    verbs: ['create'],
    scope: 'cluster',
    reason: 'whether the token that a pod shows is its own',
  },
  {
    group: 'events.k8s.io',
    resources: ['events'],
    verbs: ['create'],
    scope: 'cluster',
    reason: 'to tell the owner of an object why it was refused',
  },
]

const ROOTS: readonly Permission[] = [
  {
    group: '',
    resources: ['configmaps'],
    names: [ROOTS_NAME],
    verbs: ['list', 'watch', 'create', 'patch', 'update', 'delete'],
    scope: 'cluster',
    reason:
      'the roots that pods trust, in each labelled namespace: made, mended when they are edited, made anew when they were made immutable; of all ConfigMaps only those of this name',
  },
]

/** Plural → kind, name, and the name of the webhook in it, as the chart has them. */
export const WEBHOOK_CONFIGURATIONS = {
  mutatingwebhookconfigurations: {
    kind: 'MutatingWebhookConfiguration',
    name: 'postern-injector',
    webhook: 'inject.postern.dev',
  },
  validatingwebhookconfigurations: {
    kind: 'ValidatingWebhookConfiguration',
    name: 'postern-validator',
    webhook: 'validate.postern.dev',
  },
} as const

const WEBHOOKS: readonly Permission[] = Object.entries(WEBHOOK_CONFIGURATIONS).map(
  ([plural, { name }]) => ({
    group: 'admissionregistration.k8s.io',
    resources: [plural],
    names: [name],
    verbs: ['get', 'patch'],
    scope: 'cluster',
    reason: 'by which roots the API server knows the webhooks (caBundle); no other configuration',
  }),
)

const OWN: readonly Permission[] = [
  {
    group: 'coordination.k8s.io',
    resources: ['leases'],
    verbs: ['create'],
    scope: 'namespace',
    reason: 'the first replica makes the Lease; `create` can’t be bound to a name',
  },
  {
    group: 'coordination.k8s.io',
    resources: ['leases'],
    names: [LEASE_NAME],
    verbs: ['get', 'update'],
    scope: 'namespace',
    reason: 'who leads',
  },
  {
    group: '',
    resources: ['secrets'],
    verbs: ['create'],
    scope: 'namespace',
    reason: 'the leader makes the authority once; `create` can’t be bound to a name',
  },
  {
    group: '',
    resources: ['secrets'],
    names: [KEYS_NAME],
    verbs: ['get', 'list', 'watch', 'patch'],
    scope: 'namespace',
    reason:
      'the authority’s keys, which all replicas sign with; `patch` for the registry of join tokens beside them; no other Secret',
  },
  {
    group: '',
    resources: ['configmaps'],
    verbs: ['list', 'watch', 'create', 'patch', 'delete'],
    scope: 'namespace',
    reason:
      'each replica tells the leader, in one of its own, of the proxies that are connected to it; named after the replica, so that no name can be listed here. The leader removes those of dead ones',
  },
  {
    group: 'apps',
    resources: ['controllerrevisions'],
    verbs: ['get', 'list', 'watch', 'create', 'delete'],
    scope: 'namespace',
    reason:
      'the last good of each object outlives the pods; their names are digests, so that no name can be listed here. Nothing is ever changed in one',
  },
]

/** As `rules` of a Role or ClusterRole. */
export function toRules(permissions: readonly Permission[], scope: Permission['scope']) {
  return permissions
    .filter((permission) => permission.scope === scope)
    .map(({ group, resources, names, verbs }) => ({
      apiGroups: [group],
      resources: [...resources],
      ...(names === undefined ? {} : { resourceNames: [...names] }),
      verbs: [...verbs],
    }))
}
