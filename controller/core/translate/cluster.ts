/**
 * Workloads and services that are there by themselves, not by manifests: what core/kubernetes makes of pods and
 * Services, joined with the rest of the mesh here. A pod becomes the same draft that a WorkloadEntry becomes.
 * A service's endpoint that is no workload is called in plaintext, unless a PeerAuthentication, or the Mesh, says that
 * nothing is spoken to it but mutual TLS: then it is known, and nobody reaches it.
 */
import type { Problem } from '../../../common/errors.ts'
import { remember } from '../../../common/remember.ts'
import { formatSpiffeId } from '../../../common/spiffe-id.ts'
import type { ObjectMeta } from '../crd/index.ts'
import type { Endpoint, MtlsMode, Protocol, Service, ServicePort } from '../model/mesh.ts'
import type { TrafficTranslation } from './backend-traffic-policy.ts'
import { compareText } from './objects.ts'
import type { ModeOf } from './outbound.ts'
import type { PortSubject } from './peer-authentication.ts'
import { checkIdentity, type InboundDraft, type WorkloadDraft } from './workload-entry.ts'

/** A pod that has a proxy. Policies attach to it from its first moment; it is served once it has an address. */
export interface PodFacts extends PortSubject {
  readonly object: { readonly kind: string; readonly metadata: ObjectMeta }
  readonly uid: string
  /** Canonical. Absent: it has none yet. */
  readonly address?: string
  readonly inbound: readonly InboundDraft[]
  /** Ports of its proxy. */
  readonly capture: { readonly inboundPort: number; readonly outboundPort: number }
}

export interface EndpointFacts {
  /** Canonical. */
  readonly address: string
  readonly port: number
  readonly isReady: boolean
  /** The workload that it is. */
  readonly pod?: PodFacts
  /** Who it is, when it is a pod without a proxy. */
  readonly outsider?: PortSubject
}

export interface ServicePortFacts {
  readonly name: string
  readonly number: number
  readonly protocol: Protocol
  readonly endpoints: readonly EndpointFacts[]
}

export interface ServiceFacts {
  readonly namespace: string
  readonly name: string
  /** Canonical, sorted. */
  readonly addresses: readonly string[]
  readonly ports: readonly ServicePortFacts[]
}

export interface ClusterFacts {
  /** Oldest first. */
  readonly pods: readonly PodFacts[]
  /** Pods without a proxy behind services. */
  readonly outsiders: readonly PortSubject[]
  /** By namespace and name. */
  readonly services: readonly ServiceFacts[]
  readonly problems: readonly Problem[]
}

export const NO_CLUSTER: ClusterFacts = { pods: [], outsiders: [], services: [], problems: [] }

export interface PodTranslation {
  readonly draft: WorkloadDraft | undefined
  readonly problems: readonly Problem[]
}

/** As `translateWorkloadEntry`. A pod without an address is a subject, and no workload yet. */
export const translatePod = remember((pod: PodFacts, trustDomain: string): PodTranslation => {
  const { address, capture, ...subject } = pod
  if (address === undefined) return { draft: undefined, problems: [] }
  const spiffeId = formatSpiffeId({ trustDomain, ...subject })
  const problems = checkIdentity(pod.object, pod, spiffeId)
  if (problems.length > 0) return { draft: undefined, problems }
  const draft: WorkloadDraft = {
    ...subject,
    spec: { capture: { outboundPort: capture.outboundPort } },
    spiffeId,
    address,
    capturedBy: capture.inboundPort,
  }
  return { draft, problems: [] }
})

export interface ClusterSurroundings {
  readonly trustDomain: string
  readonly modeOf: ModeOf
  readonly traffic: TrafficTranslation
}

/** Services as callers see them; a pod that is refused is nobody that could be called. */
export function resolveServices(
  services: readonly ServiceFacts[],
  around: ClusterSurroundings,
): readonly Service[] {
  return services.map(({ namespace, name, addresses, ports }) => {
    const traffic = around.traffic.trafficOf(`${namespace}/${name}`)
    return {
      namespace,
      name,
      hosts: [],
      addresses,
      ports: ports.map((port) => ({
        number: port.number,
        destination: { namespace, service: name, port: port.name },
        protocol: port.protocol,
        ...resolveEndpoints(port.endpoints, around),
        ...(traffic === undefined ? {} : { traffic }),
      })),
    }
  })
}

function resolveEndpoints(
  facts: readonly EndpointFacts[],
  around: ClusterSurroundings,
): Pick<ServicePort, 'endpoints' | 'serverIds'> {
  const endpoints: Endpoint[] = []
  const ids = new Set<string>()
  for (const fact of facts) {
    const draft = fact.pod && translatePod(fact.pod, around.trustDomain).draft
    if (fact.pod !== undefined && draft === undefined) continue
    if (draft !== undefined) ids.add(draft.spiffeId)
    endpoints.push(
      toEndpoint(fact, draft === undefined ? outsiderMode(fact, around) : modeAt(fact, around)),
    )
  }
  endpoints.sort((a, b) => compareText(a.address, b.address) || a.port - b.port)
  return { endpoints, serverIds: [...ids].sort(compareText) }
}

function modeAt({ pod, port }: EndpointFacts, { modeOf }: ClusterSurroundings): MtlsMode {
  return pod === undefined ? 'STRICT' : modeOf(pod, port)
}

/** What is no pod is nobody that a PeerAuthentication could speak of. */
function outsiderMode({ outsider, port }: EndpointFacts, around: ClusterSurroundings): MtlsMode {
  const isRefused = outsider !== undefined && around.modeOf(outsider, port) === 'STRICT'
  return isRefused ? 'STRICT' : 'DISABLE'
}

/** One that has no proxy and must not be called in plaintext is called by no one: it can't answer otherwise. */
function toEndpoint({ address, port, isReady, pod }: EndpointFacts, mtls: MtlsMode): Endpoint {
  const isCalled = isReady && (pod !== undefined || mtls === 'DISABLE')
  return { address, port, mtls, ...(isCalled ? {} : { isReady: false }) }
}

/** Services of the cluster and those that WorkloadEntries make up; of one name they are one, port by port. */
export function mergeServices(
  cluster: readonly Service[],
  entries: readonly Service[],
): readonly Service[] {
  if (cluster.length === 0) return entries
  const byKey = new Map(cluster.map((service) => [keyOf(service), service]))
  for (const service of entries) {
    const known = byKey.get(keyOf(service))
    byKey.set(keyOf(service), known === undefined ? service : mergeService(known, service))
  }
  return [...byKey].sort(([a], [b]) => compareText(a, b)).map(([, service]) => service)
}

function keyOf({ namespace, name }: Service): string {
  return `${namespace}/${name}`
}

function mergeService(service: Service, entries: Service): Service {
  const others = new Map(entries.ports.map((port) => [port.destination.port, port]))
  const ports = service.ports.map((port) => {
    const other = others.get(port.destination.port)
    others.delete(port.destination.port)
    return other === undefined ? port : mergePort(port, other)
  })
  return {
    ...service,
    hosts: entries.hosts,
    addresses: [...service.addresses, ...entries.addresses].sort(compareText),
    ports: [...ports, ...others.values()],
  }
}

function mergePort(port: ServicePort, other: ServicePort): ServicePort {
  return {
    ...port,
    endpoints: [...port.endpoints, ...other.endpoints],
    serverIds: [...new Set([...port.serverIds, ...other.serverIds])].sort(compareText),
  }
}
