/**
 * Kubernetes' objects, trimmed to what is read of them: what isn't here is dropped before an object is kept, so that a
 * change of it is no change. In: JSON of the API server (trusted for its form). Out: plain values.
 * Source: Kubernetes API core/v1, discovery.k8s.io/v1.
 */
import type { ObjectMeta } from '../crd/index.ts'

export interface Metadata extends ObjectMeta {
  readonly namespace: string
  readonly uid: string
  /** RFC 3339; there from the moment that it is to end. */
  readonly deletionTimestamp?: string
}

export interface ContainerPort {
  readonly name?: string
  readonly containerPort: number
  /** TCP when absent. */
  readonly protocol?: string
}

export interface Container {
  readonly name: string
  readonly ports: readonly ContainerPort[]
}

export interface Pod {
  readonly metadata: Metadata
  readonly serviceAccountName: string
  /** Empty: not scheduled yet. */
  readonly nodeName: string
  readonly hostNetwork: boolean
  /** Those that run beside each other; init containers that stay (native sidecars) come last. */
  readonly containers: readonly Container[]
  readonly phase: string
  /** The first is the pod's own. */
  readonly podIPs: readonly string[]
}

export interface ServicePort {
  readonly name?: string
  readonly port: number
  readonly targetPort: number | string
  /** TCP when absent. */
  readonly protocol?: string
  readonly appProtocol?: string
}

export interface KubeService {
  readonly metadata: Metadata
  readonly type: string
  readonly selector: Readonly<Record<string, string>>
  /** None: headless. */
  readonly clusterIPs: readonly string[]
  readonly ports: readonly ServicePort[]
}

export interface SliceEndpoint {
  readonly addresses: readonly string[]
  readonly isReady: boolean
  /** Of one that is to end, and still answers. */
  readonly isServing: boolean
  readonly podUid?: string
}

export interface EndpointSlice {
  readonly metadata: Metadata
  readonly service: string
  readonly ports: readonly { readonly name: string; readonly port: number }[]
  readonly endpoints: readonly SliceEndpoint[]
}

export interface Namespace {
  readonly metadata: Pick<Metadata, 'name' | 'uid' | 'deletionTimestamp'> & {
    readonly labels: Readonly<Record<string, string>>
  }
}

/** All that a pass reads of the cluster beside objects of Postern's own. */
export interface KubeObjects {
  readonly pods: readonly Pod[]
  readonly services: readonly KubeService[]
  readonly endpointSlices: readonly EndpointSlice[]
  readonly namespaces: readonly Namespace[]
}

type Json = Readonly<Record<string, unknown>>

export function readPod(json: Json): Pod {
  const { spec = {}, status = {} } = json as { spec?: Json; status?: Json }
  const staying = list(spec.initContainers).filter((c) => c.restartPolicy === 'Always')
  const podIPs = list(status.podIPs).map(({ ip }) => text(ip))
  return {
    metadata: readMetadata(json),
    serviceAccountName: text(spec.serviceAccountName) || 'default',
    nodeName: text(spec.nodeName),
    hostNetwork: spec.hostNetwork === true,
    containers: [...list(spec.containers), ...staying].map(readContainer),
    phase: text(status.phase),
    podIPs: podIPs.length > 0 || !status.podIP ? podIPs : [text(status.podIP)],
  }
}

export function readService(json: Json): KubeService {
  const spec = (json.spec ?? {}) as Json
  const addresses = texts(spec.clusterIPs)
  return {
    metadata: readMetadata(json),
    type: text(spec.type),
    selector: (spec.selector ?? {}) as KubeService['selector'],
    clusterIPs: addresses.filter((ip) => ip !== 'None' && ip !== ''),
    ports: list(spec.ports).map((port) => ({
      ...optional('name', port.name),
      port: Number(port.port),
      targetPort: typeof port.targetPort === 'string' ? port.targetPort : targetOf(port),
      ...optional('protocol', port.protocol),
      ...optional('appProtocol', port.appProtocol),
    })),
  }
}

export function readEndpointSlice(json: Json): EndpointSlice {
  const metadata = readMetadata(json)
  const isNamed = json.addressType === 'FQDN'
  return {
    metadata: { ...metadata, labels: {} },
    service: metadata.labels?.['kubernetes.io/service-name'] ?? '',
    ports: list(json.ports).flatMap(({ name, port, protocol }) =>
      typeof port === 'number' && isTcp(protocol) ? [{ name: text(name), port }] : [],
    ),
    endpoints: isNamed ? [] : list(json.endpoints).map(readEndpoint),
  }
}

export function readNamespace(json: Json): Namespace {
  const { name, uid, labels = {}, deletionTimestamp } = readMetadata(json)
  return { metadata: { name, uid, labels, ...optional('deletionTimestamp', deletionTimestamp) } }
}

export function isTcp(protocol: unknown): boolean {
  return protocol === undefined || protocol === null || protocol === 'TCP'
}

function readMetadata(json: Json): Metadata {
  const meta = (json.metadata ?? {}) as Json
  return {
    name: text(meta.name),
    namespace: text(meta.namespace),
    uid: text(meta.uid),
    ...optional('creationTimestamp', meta.creationTimestamp),
    ...optional('deletionTimestamp', meta.deletionTimestamp),
    labels: (meta.labels ?? {}) as Readonly<Record<string, string>>,
  }
}

function readContainer({ name, ports }: Json): Container {
  return {
    name: text(name),
    ports: list(ports).map((port) => ({
      ...optional('name', port.name),
      containerPort: Number(port.containerPort),
      ...optional('protocol', port.protocol),
    })),
  }
}

/** An unknown condition counts as ready (KEP-1672). */
function readEndpoint({ addresses, conditions, targetRef }: Json): SliceEndpoint {
  const { ready, serving, terminating } = (conditions ?? {}) as Json
  const { kind, uid } = (targetRef ?? {}) as Json
  return {
    addresses: texts(addresses),
    isReady: ready !== false,
    isServing: serving === true && terminating === true,
    ...(kind === 'Pod' ? optional('podUid', uid) : {}),
  }
}

function targetOf({ targetPort, port }: Json): number {
  return typeof targetPort === 'number' && targetPort > 0 ? targetPort : Number(port)
}

function list(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value : []
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(text) : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function optional<K extends string>(key: K, value: unknown): { readonly [key in K]?: string } {
  return (typeof value === 'string' && value !== '' ? { [key]: value } : {}) as {
    readonly [key in K]?: string
  }
}
