/**
 * The services of the mesh with their host names and virtual addresses, for workloads whose calls are captured.
 * A name or address that is another's is refused, and the older object keeps it: who could claim it would be given
 * calls that were meant for someone else.
 */
import type { Problem } from '../../../common/errors.ts'
import type { Service, ServicePort } from '../model/mesh.ts'
import { fullNames } from '../model/service.ts'
import { canonicalAddress } from './address.ts'
import { type ClusterFacts, NO_CLUSTER } from './cluster.ts'
import { compareText, refOf } from './objects.ts'
import { type Backend, resolveBackends, type Services, type Surroundings } from './outbound.ts'
import type { WorkloadDraft } from './workload-entry.ts'

export interface CatalogTranslation {
  /** By namespace and name. */
  readonly services: readonly Service[]
  readonly problems: readonly Problem[]
}

type Field = 'serviceHosts' | 'serviceAddresses'

/** Who holds a name or an address: a service `namespace/name`, or an object's own address. */
interface Holder {
  readonly service: string | undefined
  readonly words: string
}

/** `drafts` are oldest first. */
export function translateCatalog(
  drafts: readonly WorkloadDraft[],
  around: Omit<Surroundings, 'claims'> & { readonly cluster?: ClusterFacts },
): CatalogTranslation {
  const { services, cluster = NO_CLUSTER } = around
  const claims = new Claims(drafts, services, cluster)
  for (const draft of drafts) claims.add(draft)
  const keys = [...services.keys()].sort(compareText)
  return {
    services: keys.map((key) => {
      const [namespace = '', name = ''] = key.split('/')
      return {
        namespace,
        name,
        hosts: claims.heldBy('serviceHosts', key),
        addresses: claims.heldBy('serviceAddresses', key),
        ports: toPorts(key, services.get(key) ?? new Map(), around),
      }
    }),
    problems: claims.problems,
  }
}

function toPorts(
  key: string,
  ports: ReadonlyMap<string, readonly Backend[]>,
  { traffic, modeOf }: Omit<Surroundings, 'claims'>,
): readonly ServicePort[] {
  const [namespace = '', service = ''] = key.split('/')
  const settings = traffic.trafficOf(key)
  return [...ports]
    .sort(([a], [b]) => compareText(a, b))
    .flatMap(([port, backends]) => {
      const [oldest] = backends
      if (oldest === undefined) return []
      return [
        {
          number: oldest.inbound.port,
          destination: { namespace, service, port },
          protocol: oldest.inbound.protocol,
          ...resolveBackends(backends, modeOf),
          ...(settings === undefined ? {} : { traffic: settings }),
        },
      ]
    })
}

class Claims {
  readonly problems: Problem[] = []
  readonly #held = {
    serviceHosts: new Map<string, Holder>(),
    serviceAddresses: new Map<string, Holder>(),
  }
  /** What each service holds, in the order of its claims. */
  readonly #own = {
    serviceHosts: new Map<string, string[]>(),
    serviceAddresses: new Map<string, string[]>(),
  }

  constructor(drafts: readonly WorkloadDraft[], services: Services, cluster: ClusterFacts) {
    for (const key of services.keys()) {
      const [namespace = '', name = ''] = key.split('/')
      const holder = { service: undefined, words: `service ${key}, whose own name it is` }
      for (const host of fullNames({ namespace, name })) this.#held.serviceHosts.set(host, holder)
    }
    for (const { namespace, name, addresses } of cluster.services) {
      const words = `Service ${namespace}/${name}, whose own it is`
      const holder = { service: undefined, words }
      for (const host of fullNames({ namespace, name })) this.#held.serviceHosts.set(host, holder)
      for (const address of addresses) this.#held.serviceAddresses.set(address, holder)
    }
    for (const { address, namespace, name } of cluster.pods) {
      if (address === undefined) continue
      const words = `pod ${namespace}/${name}, whose own address it is`
      this.#held.serviceAddresses.set(address, { service: undefined, words })
    }
    for (const { address, namespace, name } of drafts) {
      const words = `WorkloadEntry ${namespace}/${name}, whose own address it is`
      this.#held.serviceAddresses.set(address, { service: undefined, words })
    }
  }

  add(draft: WorkloadDraft): void {
    const { serviceHosts = [], serviceAddresses = [] } = draft.spec
    for (const [i, host] of serviceHosts.entries()) this.#claim(draft, 'serviceHosts', i, host)
    for (const [i, text] of serviceAddresses.entries()) {
      const address = canonicalAddress(text)
      if (address !== undefined) this.#claim(draft, 'serviceAddresses', i, address)
    }
  }

  heldBy(field: Field, service: string): readonly string[] {
    return [...(this.#own[field].get(service) ?? [])].sort(compareText)
  }

  #claim(draft: WorkloadDraft, field: Field, index: number, value: string): void {
    const service = `${draft.namespace}/${draft.service}`
    const holder = this.#held[field].get(value)
    if (holder === undefined) {
      this.#held[field].set(value, { service, words: `service ${service}` })
      const own = this.#own[field].get(service)
      if (own === undefined) this.#own[field].set(service, [value])
      else own.push(value)
    } else if (holder.service !== service) {
      this.problems.push({
        code: 'ERR_FIELD_VALUE',
        object: refOf(draft.object),
        field: `spec.${field}[${index}]`,
        message: `"${value}" belongs to ${holder.words}`,
        remedy: 'choose another, or remove it here',
      })
    }
  }
}
