/**
 * Services with their EndpointSlices → services as callers see them. An endpoint that Kubernetes says is a pod must be
 * that pod now: its address may have gone to another meanwhile, who must not be taken for it.
 * No address is a Service's by its manifest alone: `externalIPs` would let its author take over anybody's calls.
 */
import { canonicalAddress } from '../translate/address.ts'
import type {
  EndpointFacts,
  PodFacts,
  ServiceFacts,
  ServicePortFacts,
} from '../translate/cluster.ts'
import { compareText } from '../translate/objects.ts'
import type { PortSubject } from '../translate/peer-authentication.ts'
import { type EndpointSlice, isTcp, type KubeService, type SliceEndpoint } from './objects.ts'
import { protocolOf } from './pod.ts'

/** Who is behind an address. */
export interface Occupant {
  readonly uid: string
  readonly addresses: readonly string[]
  readonly pod?: PodFacts
  readonly outsider?: PortSubject
}

export interface Occupants {
  readonly byUid: ReadonlyMap<string, Occupant>
  /** Without pods on their node's network. */
  readonly byAddress: ReadonlyMap<string, Occupant>
}

export function toServiceFacts(
  service: KubeService,
  slices: readonly EndpointSlice[],
  occupants: Occupants,
): ServiceFacts {
  const { namespace, name } = service.metadata
  return {
    namespace,
    name,
    addresses: canonical(service.clusterIPs),
    ports: service.ports
      .filter(({ protocol }) => isTcp(protocol))
      .map(
        (port): ServicePortFacts => ({
          name: port.name ?? String(port.port),
          number: port.port,
          protocol: protocolOf(port).protocol,
          endpoints: toEndpoints(port.name ?? '', slices, occupants),
        }),
      )
      .sort((a, b) => compareText(a.name, b.name)),
  }
}

/** When none is ready, those that are to end and still answer are used, as kube-proxy does. */
function toEndpoints(
  portName: string,
  slices: readonly EndpointSlice[],
  occupants: Occupants,
): readonly EndpointFacts[] {
  const found = new Map<string, { fact: EndpointFacts; endpoint: SliceEndpoint }>()
  for (const { ports, endpoints } of slices) {
    const port = ports.find(({ name }) => name === portName)?.port
    if (port === undefined) continue
    for (const endpoint of endpoints) {
      for (const fact of readEndpoint(endpoint, port, occupants)) {
        const key = `${fact.address} ${port}`
        // A pod may stand in two slices for a moment; ready in one is ready.
        if (found.get(key)?.fact.isReady !== true) found.set(key, { fact, endpoint })
      }
    }
  }
  const all = [...found.values()]
  const hasReady = all.some(({ fact }) => fact.isReady)
  return all.map(({ fact, endpoint }) => ({
    ...fact,
    isReady: hasReady ? fact.isReady : endpoint.isServing,
  }))
}

function readEndpoint(
  { addresses, isReady, podUid }: SliceEndpoint,
  port: number,
  { byUid, byAddress }: Occupants,
): readonly EndpointFacts[] {
  return canonical(addresses).flatMap((address) => {
    const occupant = podUid === undefined ? byAddress.get(address) : byUid.get(podUid)
    if (podUid !== undefined && occupant?.addresses.includes(address) !== true) return []
    const { pod, outsider } = occupant ?? {}
    return [
      {
        address,
        port,
        isReady,
        ...(pod === undefined ? {} : { pod }),
        ...(outsider === undefined ? {} : { outsider }),
      },
    ]
  })
}

export function canonical(addresses: readonly string[]): readonly string[] {
  return addresses.flatMap((address) => canonicalAddress(address) ?? []).sort(compareText)
}
