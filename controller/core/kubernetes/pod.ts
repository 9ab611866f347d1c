/**
 * Pod → a workload, an outsider, or nobody. A workload has Postern's sidecar among its containers. One without it is an
 * outsider: no policy is enforced there, and callers need to know that it takes no mutual TLS.
 * Whoever is over (Succeeded, Failed) is nobody. One that is to end stays what it is until it is gone. A pod on the
 * node's network is left alone: its address is the node's, and what comes for others would be taken for its own.
 */

import { canonicalAddress } from '../translate/address.ts'
import { readAppProtocol } from '../translate/app-protocol.ts'
import { PROXY_PORTS } from '../translate/captured-ports.ts'
import type { PodFacts } from '../translate/cluster.ts'
import type { PortSubject } from '../translate/peer-authentication.ts'
import type { InboundDraft } from '../translate/workload-entry.ts'
import { type Container, isTcp, type KubeService, type Pod, type ServicePort } from './objects.ts'

export const SIDECAR_CONTAINER = 'postern-sidecar'
const INBOUND_PORT = 15006
const OUTBOUND_PORT = 15001

/** A port of a Service and the port of the pod that it leads to. */
export interface Target {
  readonly service: string
  readonly port: ServicePort
  readonly number: number
}

export function isOver({ phase }: Pod): boolean {
  return phase === 'Succeeded' || phase === 'Failed'
}

export function hasSidecar(pod: Pod): boolean {
  return !pod.hostNetwork && pod.containers.some(({ name }) => name === SIDECAR_CONTAINER)
}

/** Whether the Service leads to the pod. One without a selector leads to nobody by itself. */
export function selects(service: KubeService, pod: Pod): boolean {
  const wanted = Object.entries(service.selector)
  const { labels = {} } = pod.metadata
  return (
    service.type !== 'ExternalName' &&
    wanted.length > 0 &&
    wanted.every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
  )
}

/** Where the Services lead to in the pod, in their order. A named port that the pod doesn't have leads nowhere. */
export function targetsOf(pod: Pod, services: readonly KubeService[]): readonly Target[] {
  return services.flatMap(({ metadata, ports }) =>
    ports
      .filter(({ protocol }) => isTcp(protocol))
      .flatMap((port) => {
        const number = portNumber(pod, port.targetPort)
        return number === undefined || PROXY_PORTS.has(number)
          ? []
          : [{ service: metadata.name, port, number }]
      }),
  )
}

function portNumber({ containers }: Pod, target: number | string): number | undefined {
  if (typeof target === 'number') return target
  return appPorts(containers).find(({ name }) => name === target)?.containerPort
}

/** `services` are those that select the pod, oldest first: of one port, the oldest says what it speaks. */
export function toPodFacts(pod: Pod, services: readonly KubeService[]): PodFacts {
  const { metadata } = pod
  const address = canonicalAddress(pod.podIPs[0] ?? '')
  return {
    ...toSubject(pod, services),
    takesAnyPort: true,
    object: { kind: 'Pod', metadata },
    uid: metadata.uid,
    ...(address === undefined ? {} : { address }),
    inbound: address === undefined ? [] : toInbound(pod, targetsOf(pod, services), address),
    capture: { inboundPort: INBOUND_PORT, outboundPort: OUTBOUND_PORT },
  }
}

export function toSubject(pod: Pod, services: readonly KubeService[]): PortSubject {
  const { namespace, name, labels = {} } = pod.metadata
  const names = services.map((service) => service.metadata.name)
  return {
    namespace,
    name,
    service: names[0] ?? name,
    services: [...names].sort(),
    serviceAccount: pod.serviceAccountName,
    labels,
    ports: [...new Set(targetsOf(pod, services).map(({ number }) => number))],
  }
}

function toInbound(pod: Pod, targets: readonly Target[], address: string): readonly InboundDraft[] {
  const found = new Map<number, Pick<InboundDraft, 'name' | 'protocol' | 'serverFirst'>>()
  const add = (number: number, port: Pick<ServicePort, 'name' | 'appProtocol'>) => {
    if (found.has(number) || PROXY_PORTS.has(number)) return
    found.set(number, { name: port.name ?? String(number), ...protocolOf(port) })
  }
  for (const { number, port } of targets) add(number, port)
  for (const port of appPorts(pod.containers)) {
    if (isTcp(port.protocol)) add(port.containerPort, port)
  }
  return [...found].map(([port, what], index) => ({
    index,
    address,
    port,
    appAddress: address,
    appPort: port,
    ...what,
  }))
}

export function protocolOf({ name = '', appProtocol }: Pick<ServicePort, 'name' | 'appProtocol'>) {
  return readAppProtocol({ name, ...(appProtocol === undefined ? {} : { appProtocol }) })
}

function appPorts(containers: readonly Container[]) {
  return containers.filter(({ name }) => name !== SIDECAR_CONTAINER).flatMap(({ ports }) => ports)
}
