/**
 * What the API server knows → what the mesh is made of beside Postern's own objects: workloads, outsiders, services.
 * Pure; the order of objects does not matter. An object that is the same value as before is not read again.
 */

import type { Problem } from '../../../common/errors.ts'
import { keepEqual, remember } from '../../../common/remember.ts'
import type { ClusterFacts, PodFacts, ServiceFacts } from '../translate/cluster.ts'
import { compareAge, compareText } from '../translate/objects.ts'
import type { PortSubject } from '../translate/peer-authentication.ts'
import type { EndpointSlice, KubeObjects, KubeService, Pod } from './objects.ts'
import { hasSidecar, isOver, protocolOf, selects, targetsOf, toPodFacts, toSubject } from './pod.ts'
import { isInjected } from './roots.ts'
import { canonical, type Occupant, type Occupants, toServiceFacts } from './service.ts'

const podFacts = remember(toPodFacts)
const podSubject = remember(toSubject)
const keepService = keepEqual<KubeService, ServiceFacts>()
const addressesOf = remember((pod: Pod) => canonical(pod.podIPs))

export function readCluster(objects: KubeObjects): ClusterFacts {
  const services = [...objects.services].sort(compareAge)
  const byNamespace = Map.groupBy(services, ({ metadata }) => metadata.namespace)
  const living = objects.pods.filter((pod) => !isOver(pod)).sort(compareAge)
  const pods: PodFacts[] = []
  const outsiders: PortSubject[] = []
  const problems: Problem[] = []
  const byUid = new Map<string, Occupant>()
  const byAddress = new Map<string, Occupant>()
  for (const pod of living) {
    const own = (byNamespace.get(pod.metadata.namespace) ?? []).filter((s) => selects(s, pod))
    const occupant = toOccupant(pod, own)
    if (occupant.pod !== undefined) {
      pods.push(occupant.pod)
      problems.push(...findDisputes(pod, own))
    } else if (occupant.outsider !== undefined && own.length > 0) outsiders.push(occupant.outsider)
    byUid.set(occupant.uid, occupant)
    if (!pod.hostNetwork) for (const a of occupant.addresses) byAddress.set(a, occupant)
  }
  return {
    pods,
    outsiders,
    services: toServices(services, objects.endpointSlices, { byUid, byAddress }),
    problems: distinct(problems),
  }
}

/** Pods that should have a sidecar, by their namespace's label, and have none, `namespace/name`; sorted. */
export function findUnguarded({ pods, namespaces }: KubeObjects): readonly string[] {
  const labelled = new Set(
    namespaces.filter(({ metadata }) => isInjected(metadata)).map(({ metadata }) => metadata.name),
  )
  return pods
    .filter((pod) => labelled.has(pod.metadata.namespace) && !isOver(pod) && !hasSidecar(pod))
    .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
    .sort()
}

function toOccupant(pod: Pod, services: readonly KubeService[]): Occupant {
  const at = { uid: pod.metadata.uid, addresses: addressesOf(pod) }
  return hasSidecar(pod)
    ? { ...at, pod: podFacts(pod, services) }
    : { ...at, outsider: podSubject(pod, services) }
}

function toServices(
  services: readonly KubeService[],
  slices: readonly EndpointSlice[],
  occupants: Occupants,
): readonly ServiceFacts[] {
  const bySlice = Map.groupBy(slices, (s) => `${s.metadata.namespace}/${s.service}`)
  return services
    .filter(({ type }) => type !== 'ExternalName')
    .map((service) => {
      const { namespace, name } = service.metadata
      const own = [...(bySlice.get(`${namespace}/${name}`) ?? [])].sort(compareAge)
      return keepService(service, toServiceFacts(service, own, occupants))
    })
    .sort((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name))
}

/** Two Services that lead to one port and disagree on what it speaks: the older one says. */
function findDisputes(pod: Pod, services: readonly KubeService[]): readonly Problem[] {
  const { namespace } = pod.metadata
  const first = new Map<number, { readonly service: string; readonly protocol: string }>()
  return targetsOf(pod, services).flatMap(({ service, port, number }): readonly Problem[] => {
    const { protocol } = protocolOf(port)
    const older = first.get(number)
    if (older === undefined) first.set(number, { service, protocol })
    if (older === undefined || older.protocol === protocol) return []
    return [
      {
        code: 'ERR_PORT_CONFLICT',
        object: { kind: 'Service', namespace, name: service },
        field: 'spec.ports',
        message: `port ${port.port} speaks ${protocol}, and Service "${older.service}", which is older, says that the pods' port ${number} speaks ${older.protocol}`,
        remedy: 'give both ports the same appProtocol',
      },
    ]
  })
}

function distinct(problems: readonly Problem[]): readonly Problem[] {
  return [...new Map(problems.map((p) => [`${p.object?.name} ${p.message}`, p])).values()]
}
