/**
 * Manifests of a mesh in a real cluster, written by hand as injection and the chart would write them: the controller
 * with the permissions that docs/reference/rbac.md lists, and pods with init container, sidecar and app. JSON.
 */
import { KINDS } from '../../controller/core/crd/index.ts'
import { toNftRuleset } from '../../controller/core/inject/nft.ts'
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

const CAPTURE = toNftRuleset({
  excludedInboundPorts: [],
  excludedOutboundPorts: [],
  excludedOutboundCidrs: [],
})

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
  readonly ports?: readonly Json[]
  /** Default: it has one. */
  readonly sidecar?: boolean
  readonly probes?: readonly Json[]
  /** Of the app container. */
  readonly app?: Json
  /** Of the pod. */
  readonly spec?: Json
  /** Init containers of the app, after the sidecar. */
  readonly inits?: readonly Json[]
}

const IDLE = 'process.on("SIGTERM",()=>process.exit(0));setInterval(()=>{},1e6)'

export function podSpec(images: Images, options: PodOptions): Json {
  const { name, script = IDLE, ports = [], sidecar = true, inits = [], probes = [] } = options
  return {
    serviceAccountName: options.serviceAccount ?? name,
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 5,
    initContainers: [
      ...(sidecar ? [initContainer(images), sidecarContainer(images, probes)] : []),
      ...inits,
    ],
    containers: [{ ...nodeContainer(images, 'app', script), ports, ...options.app }],
    volumes: sidecar ? VOLUMES.map(({ name, of }) => ({ name, ...of })) : [],
    ...options.spec,
  }
}

export function podManifest(images: Images, options: PodOptions): Json {
  const { namespace, name, labels = { app: name } } = options
  const metadata = { namespace, name, labels }
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: podSpec(images, options) }
}

export function accountManifest(namespace: string, name: string): Json {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } }
}

/** A program for Node, as another user than the proxy's. */
export function nodeContainer(images: Images, name: string, script: string): Json {
  return {
    name,
    image: images.controller,
    imagePullPolicy: 'Never',
    command: ['/usr/bin/node', '-e', script],
    securityContext: { ...RESTRICTED, runAsUser: 1000 },
  }
}

function initContainer(images: Images): Json {
  return {
    name: 'postern-init',
    image: images.init,
    imagePullPolicy: 'Never',
    args: [CAPTURE],
    securityContext: {
      ...RESTRICTED,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
      runAsNonRoot: false,
      runAsUser: 0,
    },
  }
}

function sidecarContainer(images: Images, probes: readonly Json[]): Json {
  const field = (name: string, path: string) => ({ name, valueFrom: fieldRef(path) })
  return {
    name: 'postern-sidecar',
    image: images.sidecar,
    imagePullPolicy: 'Never',
    restartPolicy: 'Always',
    args: [
      ...['sidecar', '--attest=pod', '--state=/var/lib/postern', '--health=0.0.0.0:15020'],
      '--drain-seconds=1',
      '--controller=postern-controller.postern-system.svc:15012',
    ],
    env: [
      field('POSTERN_POD_NAMESPACE', 'metadata.namespace'),
      field('POSTERN_POD_NAME', 'metadata.name'),
      field('POSTERN_POD_UID', 'metadata.uid'),
      field('POSTERN_SERVICE_ACCOUNT', 'spec.serviceAccountName'),
      field('POSTERN_POD_IP', 'status.podIP'),
      { name: 'POSTERN_APP_PROBES', value: JSON.stringify(probes) },
    ],
    startupProbe: {
      httpGet: { path: '/readyz', port: 15020 },
      periodSeconds: 1,
      failureThreshold: 120,
    },
    securityContext: { ...RESTRICTED, runAsUser: 1337, runAsGroup: 1337 },
    volumeMounts: VOLUMES.map(({ name, path }) => ({ name, mountPath: path })),
  }
}

const TOKEN = { audience: 'postern-ca', expirationSeconds: 3600, path: 'token' }
const VOLUMES = [
  { name: 'postern-state', path: '/var/lib/postern', of: { emptyDir: { medium: 'Memory' } } },
  {
    name: 'postern-token',
    path: '/var/run/secrets/postern/token',
    of: { projected: { sources: [{ serviceAccountToken: TOKEN }] } },
  },
  {
    name: 'postern-roots',
    path: '/var/run/secrets/postern/roots',
    of: { configMap: { name: 'postern-ca-roots' } },
  },
]

function fieldRef(fieldPath: string): Json {
  return { fieldRef: { fieldPath } }
}
