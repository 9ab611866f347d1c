/**
 * Manifests of a mesh in a real cluster: the controller by hand, with the permissions that docs/reference/rbac.md lists, and
 * pods as injection makes them of a pod with an app. JSON.
 */
import { KINDS } from '../../controller/core/crd/index.ts'
import { injectPod } from '../../controller/core/inject/inject.ts'
import { defaultSettings } from '../../controller/core/inject/settings.ts'
import { permissionsFor, toRules } from '../../controller/core/kubernetes/permissions.ts'

type Json = Readonly<Record<string, unknown>>

export const SYSTEM = 'postern-system'
const CONTROLLER = 'postern-controller'
const RBAC = 'rbac.authorization.k8s.io'

export type Images = Readonly<Record<'controller' | 'sidecar' | 'init', string>>

const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
}

/** The controller with its account, roles and Service. Its keys are in the pod, and end with it. */
export function controllerManifests(images: Images): readonly Json[] {
  const permissions = permissionsFor(KINDS.map(({ plural }) => plural))
  const metadata = { name: CONTROLLER, namespace: SYSTEM }
  const subjects = [{ kind: 'ServiceAccount', ...metadata }]
  const roleRef = (kind: string) => ({ apiGroup: RBAC, kind, name: CONTROLLER })
  const rbac = (kind: string, rest: Json) => ({ apiVersion: `${RBAC}/v1`, kind, ...rest })
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    rbac('Role', { metadata, rules: toRules(permissions, 'namespace') }),
    rbac('RoleBinding', { metadata, subjects, roleRef: roleRef('Role') }),
    rbac('ClusterRole', { metadata: { name: CONTROLLER }, rules: toRules(permissions, 'cluster') }),
    rbac('ClusterRoleBinding', {
      metadata: { name: CONTROLLER },
      subjects,
      roleRef: roleRef('ClusterRole'),
    }),
    controllerDeployment(images, metadata),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { selector: { app: CONTROLLER }, ports: [{ name: 'grpc', port: 15012 }] },
    },
  ]
}

function controllerDeployment(images: Images, metadata: Json): Json {
  const volumes = [
    { name: 'state', emptyDir: {} },
    { name: 'tmp', emptyDir: {} },
  ]
  const container = {
    name: 'controller',
    image: images.controller,
    imagePullPolicy: 'Never',
    args: [
      ...['controller', '--source=kubernetes', '--state=/var/lib/postern/state'],
      ...['--listen=0.0.0.0:15012', '--health=0.0.0.0:15014'],
    ],
    env: [{ name: 'POD_NAMESPACE', valueFrom: fieldRef('metadata.namespace') }],
    readinessProbe: { httpGet: { path: '/readyz', port: 15014 }, periodSeconds: 1 },
    securityContext: RESTRICTED,
    volumeMounts: [
      { name: 'state', mountPath: '/var/lib/postern' },
      { name: 'tmp', mountPath: '/tmp' },
    ],
  }
  const spec = { serviceAccountName: CONTROLLER, containers: [container], volumes }
  const labels = { app: CONTROLLER }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata,
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  }
}

export interface PodOptions {
  readonly namespace: string
  readonly name: string
  /** Default: the name. */
  readonly serviceAccount?: string
  /** Default: `app: <name>`. */
  readonly labels?: Readonly<Record<string, string>>
  /** Runs in the app container, by Node. Default: waits. */
  readonly script?: string
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[]
  /** Default: it has one. */
  readonly sidecar?: boolean
  /** Of the app container. */
  readonly app?: Json
  /** Of the pod. */
  readonly spec?: Json
  /** Init containers of the app. */
  readonly inits?: readonly (Json & { readonly name: string })[]
}

const IDLE = 'process.on("SIGTERM",()=>process.exit(0));setInterval(()=>{},1e6)'

/** `metadata` and `spec`, as a pod or as a template of one. */
export function podTemplate(images: Images, options: PodOptions): Json {
  const { name, labels = { app: name }, script = IDLE, ports = [], inits = [] } = options
  const pod = {
    metadata: { labels },
    spec: {
      serviceAccountName: options.serviceAccount ?? name,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 5,
      initContainers: inits,
      containers: [{ ...nodeContainer(images, 'app', script), ports, ...options.app }],
      ...options.spec,
    },
  }
  if (options.sidecar === false) return pod
  const injection = injectPod(pod, {
    ...defaultSettings('test'),
    sidecarImage: images.sidecar,
    initImage: images.init,
    imagePullPolicy: 'Never',
    drainSeconds: 1,
  })
  if (injection.kind !== 'injected') throw new Error(JSON.stringify(injection))
  return injection.pod
}

export function podManifest(images: Images, options: PodOptions): Json {
  const { namespace, name } = options
  const pod = podTemplate(images, options)
  const metadata = { ...(pod.metadata as Json), namespace, name }
  return { apiVersion: 'v1', kind: 'Pod', ...pod, metadata }
}

export function accountManifest(namespace: string, name: string): Json {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } }
}

/** A program for Node, as another user than the proxy's. */
export function nodeContainer(images: Images, name: string, script: string) {
  return {
    name,
    image: images.controller,
    imagePullPolicy: 'Never',
    command: ['/usr/bin/node', '-e', script],
    securityContext: { ...RESTRICTED, runAsUser: 1000 },
  }
}

function fieldRef(fieldPath: string): Json {
  return { fieldRef: { fieldPath } }
}
