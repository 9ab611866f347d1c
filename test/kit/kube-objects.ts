/**
 * Pods, Services and EndpointSlices as the API server writes them, as JSON. Options say only what a test is about.
 * Names are `namespace/name`.
 */
import {
  type KubeObjects,
  readEndpointSlice,
  readNamespace,
  readPod,
  readService,
} from '../../controller/core/kubernetes/objects.ts'

type Json = Record<string, unknown>

interface PodOptions {
  readonly ip?: string
  readonly uid?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly ports?: readonly Json[]
  readonly serviceAccount?: string
  /** Default: it has one, as a native sidecar. */
  readonly sidecar?: boolean
  readonly spec?: Json
  readonly status?: Json
  readonly metadata?: Json
}

export function podJson(path: string, options: PodOptions = {}): Json {
  const { ip, labels = {}, ports = [], sidecar = true } = options
  const [, name = ''] = path.split('/')
  const proxy = {
    name: 'postern-sidecar',
    restartPolicy: 'Always',
    ports: [{ containerPort: 15021 }],
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...meta(path), uid: options.uid ?? `uid-${name}`, labels, ...options.metadata },
    spec: {
      serviceAccountName: options.serviceAccount ?? name,
      containers: [{ name: 'app', image: 'app', ports, env: [{ name: 'NOT', value: 'read' }] }],
      initContainers: [{ name: 'postern-init' }, ...(sidecar ? [proxy] : [])],
      ...options.spec,
    },
    status: {
      phase: ip === undefined ? 'Pending' : 'Running',
      ...(ip === undefined ? {} : { podIP: ip, podIPs: [{ ip }] }),
      ...options.status,
    },
  }
}

export function serviceJson(
  path: string,
  selector: Readonly<Record<string, string>> | undefined,
  spec: Json & { readonly ports?: readonly Json[] } = {},
): Json {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { ...meta(path), uid: `uid-${path}`, ...((spec.metadata as Json | undefined) ?? {}) },
    spec: {
      type: 'ClusterIP',
      ...(selector === undefined ? {} : { selector }),
      clusterIPs: ['10.96.0.10'],
      ...spec,
    },
  }
}

export interface EndpointOptions {
  readonly uid?: string
  readonly conditions?: Json
}

export function sliceJson(
  path: string,
  ports: readonly Json[],
  endpoints: Readonly<Record<string, EndpointOptions>>,
  name = `${path}-abcde`,
): Json {
  const [, service] = path.split('/')
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      ...meta(name),
      uid: `uid-${name}`,
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: 'IPv4',
    ports: ports.map((port) => ({ protocol: 'TCP', ...port })),
    endpoints: Object.entries(endpoints).map(([address, { uid, conditions }]) => ({
      addresses: [address],
      conditions: { ready: true, ...conditions },
      ...(uid === undefined ? {} : { targetRef: { kind: 'Pod', uid } }),
    })),
  }
}

function meta(path: string): Json {
  const [namespace, name] = path.split('/')
  return { namespace, name, creationTimestamp: '2026-11-24T08:00:00Z' }
}

/** As the controller keeps them. */
export function kubeObjects(objects: {
  readonly pods?: readonly Json[]
  readonly services?: readonly Json[]
  readonly slices?: readonly Json[]
  readonly namespaces?: readonly Json[]
}): KubeObjects {
  const { pods = [], services = [], slices = [], namespaces = [] } = objects
  return {
    pods: pods.map(readPod),
    services: services.map(readService),
    endpointSlices: slices.map(readEndpointSlice),
    namespaces: namespaces.map(readNamespace),
  }
}
