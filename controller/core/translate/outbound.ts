/**
 * The outbound ports of a workload, resolved against the services of the mesh (secure naming, DESIGN §6).
 * A destination that is gone keeps its port without endpoints: the app gets 503, and no one else's server.
 */
import type { Problem } from '../../../common/errors.ts'
import type { WorkloadEntryOutbound } from '../crd/index.ts'
import type { Destination, OutboundPort, Protocol } from '../model/mesh.ts'
import { canonicalAddress, isLoopback } from './address.ts'
import type { TrafficTranslation } from './backend-traffic-policy.ts'
import { compareText, refOf } from './objects.ts'
import type { PeerAuthenticationTranslation } from './peer-authentication.ts'
import { type PortClaims, refusedKey } from './port-claims.ts'
import type { InboundDraft, WorkloadDraft } from './workload-entry.ts'

/** One workload behind a service's port. */
export interface Backend {
  readonly draft: WorkloadDraft
  readonly inbound: InboundDraft
}

/** Services of the mesh, by `namespace/service`, then port name; backends oldest first. */
export type Services = ReadonlyMap<string, ReadonlyMap<string, readonly Backend[]>>

export interface ServicesTranslation {
  readonly services: Services
  readonly problems: readonly Problem[]
}

/** The services that `drafts` (oldest first) make up. All backends of a port speak the protocol of the oldest. */
export function translateServices(
  drafts: readonly WorkloadDraft[],
  claims: PortClaims,
): ServicesTranslation {
  const services = new Map<string, Map<string, Backend[]>>()
  const problems: Problem[] = []
  for (const draft of drafts) {
    const key = `${draft.namespace}/${draft.service}`
    const ports = services.get(key) ?? new Map<string, Backend[]>()
    services.set(key, ports)
    for (const inbound of draft.inbound) {
      if (claims.refused.has(refusedKey(draft, `spec.inbound[${inbound.index}]`))) continue
      const backends = ports.get(inbound.name) ?? []
      const first = backends[0]
      if (first === undefined || first.inbound.protocol === inbound.protocol) {
        ports.set(inbound.name, [...backends, { draft, inbound }])
      } else problems.push(otherProtocol(draft, inbound, first))
    }
  }
  return { services, problems }
}

export interface OutboundTranslation {
  readonly outbound: readonly OutboundPort[]
  readonly problems: readonly Problem[]
}

export type ModeOf = PeerAuthenticationTranslation['modeOf']

/** What outbound ports are resolved against. */
export interface Surroundings {
  readonly services: Services
  readonly claims: PortClaims
  readonly traffic: TrafficTranslation
  readonly modeOf: ModeOf
}

export function translateOutbound(
  draft: WorkloadDraft,
  { services, claims, traffic, modeOf }: Surroundings,
): OutboundTranslation {
  const outbound: OutboundPort[] = []
  const problems: Problem[] = []
  for (const [index, spec] of (draft.spec.outbound ?? []).entries()) {
    const item = `spec.outbound[${index}]`
    if (claims.refused.has(refusedKey(draft, item))) continue
    const address = canonicalAddress(spec.address)
    if (address === undefined || !isLoopback(address)) {
      problems.push(notLoopback(draft, item, spec))
      continue
    }
    const destination = readDestination(draft, spec)
    const service = `${destination.namespace}/${destination.service}`
    const ports = services.get(service)
    const settings = traffic.trafficOf(service)
    const backends = ports?.get(destination.port)
    if (backends === undefined) problems.push(notFound(draft, item, spec, ports?.keys()))
    outbound.push({
      name: spec.name,
      address,
      port: spec.port,
      destination,
      protocol: spec.protocol ?? protocolOf(backends),
      ...(settings === undefined ? {} : { traffic: settings }),
      ...resolveBackends(backends ?? [], modeOf),
    })
  }
  return { outbound, problems }
}

function readDestination(
  draft: WorkloadDraft,
  spec: WorkloadEntryOutbound,
): OutboundPort['destination'] {
  const slash = spec.service.indexOf('/')
  return {
    namespace: slash < 0 ? draft.namespace : spec.service.slice(0, slash),
    service: spec.service.slice(slash + 1),
    port: spec.servicePort,
  }
}

function protocolOf(backends: readonly Backend[] | undefined): Protocol {
  return backends?.[0]?.inbound.protocol ?? 'HTTP'
}

/** Where a service's port is, what its endpoints take, and who its servers may be. */
export function resolveBackends(
  backends: readonly Backend[],
  modeOf: ModeOf,
): Pick<Destination, 'endpoints' | 'serverIds'> {
  const endpoints = backends.map(({ draft, inbound }) => ({
    address: inbound.address,
    port: inbound.port,
    mtls: modeOf(draft, inbound.port),
  }))
  return {
    endpoints: endpoints.sort((a, b) => compareText(a.address, b.address) || a.port - b.port),
    serverIds: [...new Set(backends.map(({ draft }) => draft.spiffeId))].sort(compareText),
  }
}

function notFound(
  draft: WorkloadDraft,
  item: string,
  spec: WorkloadEntryOutbound,
  ports: Iterable<string> | undefined,
): Problem {
  const { namespace, service } = readDestination(draft, spec)
  const object = refOf(draft.object)
  if (ports === undefined) {
    return {
      code: 'ERR_REFERENCE_NOT_FOUND',
      object,
      field: `${item}.service`,
      message: `no WorkloadEntry belongs to service "${service}" in namespace "${namespace}"`,
      remedy: 'write "namespace/name" for a service elsewhere, or add its WorkloadEntry',
    }
  }
  const names = [...ports].sort(compareText).join(', ')
  return {
    code: 'ERR_REFERENCE_NOT_FOUND',
    object,
    field: `${item}.servicePort`,
    message: `service "${namespace}/${service}" has no port named "${spec.servicePort}"`,
    remedy: names === '' ? 'add an inbound port to its WorkloadEntry' : `use one of: ${names}`,
  }
}

/** Whoever reaches an outbound port calls with the workload's identity. */
function notLoopback(draft: WorkloadDraft, item: string, spec: WorkloadEntryOutbound): Problem {
  return {
    code: 'ERR_FIELD_VALUE',
    object: refOf(draft.object),
    field: `${item}.address`,
    message: `"${spec.address}" is not a loopback address, and whoever reaches the port calls as this workload`,
    remedy: 'use an address of 127.0.0.0/8 or ::1',
  }
}

function otherProtocol(draft: WorkloadDraft, inbound: InboundDraft, first: Backend): Problem {
  const { namespace, name } = first.draft
  return {
    code: 'ERR_FIELD_VALUE',
    object: refOf(draft.object),
    field: `spec.inbound[${inbound.index}].protocol`,
    message: `port "${inbound.name}" of service "${draft.service}" speaks ${first.inbound.protocol} in WorkloadEntry ${namespace}/${name}`,
    remedy: 'give the port the same protocol in all WorkloadEntries of the service',
  }
}
