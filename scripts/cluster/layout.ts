/**
 * Where a test cluster is: its name, its addresses, its folder, all from two words of the user. Pure.
 * A cluster takes one /16 for everything, so that two of them never meet: nodes, pods, services.
 */
import { join } from 'node:path'
import { Missing } from '../tools/missing.ts'

export interface Layout {
  /** Also in the names of the interface and the cgroup. */
  readonly name: string
  /** First two bytes of all its addresses: `10.99`. */
  readonly network: string
  /** The cluster's state, thrown away with it. */
  readonly folder: string
  readonly hostAddress: string
  readonly nodeAddress: string
  readonly nodeNetwork: string
  readonly podNetwork: string
  readonly serviceNetwork: string
  readonly dnsAddress: string
  /** The host's end of the link to the node. */
  readonly interface: string
  /** Below the root of every hierarchy. */
  readonly cgroup: string
}

export const NODE_NAME = 'node1'
export const DEFAULT_NAME = 'postern'
/** The cluster's folder, as seen inside its own mount namespace: short, since Unix sockets lie in it. */
export const INSIDE = '/run/postern'
/** What is tried, in this order, when none is asked for. */
export const NETWORKS: readonly string[] = Array.from({ length: 20 }, (_, i) => `10.${99 - i}`)

/** `name`: CLUSTER, `network`: CLUSTER_NETWORK. Throws Missing for words that can't be used. */
export function layoutOf(stateRoot: string, name: string, network: string): Layout {
  // An interface's name has 15 characters.
  if (!/^[a-z][a-z0-9-]{0,11}$/.test(name))
    throw new Missing(`CLUSTER=${name}: at most 12 of a-z, 0-9 and -, and a letter first.`)
  const [, first, second] = network.match(/^(\d{1,3})\.(\d{1,3})$/) ?? []
  if (first === undefined || Number(first) > 223 || Number(second) > 255)
    throw new Missing(`CLUSTER_NETWORK=${network}: two numbers as in 10.99, for the /16 to take.`)
  return {
    name,
    network,
    folder: join(stateRoot, name),
    hostAddress: `${network}.0.1`,
    nodeAddress: `${network}.0.2`,
    nodeNetwork: `${network}.0.0/24`,
    podNetwork: `${network}.64.0/18`,
    serviceNetwork: `${network}.128.0/17`,
    dnsAddress: `${network}.128.10`,
    interface: `pn-${name}`,
    cgroup: `postern-${name}`,
  }
}

/** The first network of `wanted` that no route of the machine touches; undefined: all are taken. */
export function freeNetwork(
  wanted: readonly string[],
  routes: readonly string[],
): string | undefined {
  return wanted.find((network) => !routes.some((route) => overlaps(network, route)))
}

/** Whether `10.99`, as a /16, and a route (`10.0.0.0/8`, `10.99.0.2`) have an address in common. */
function overlaps(network: string, route: string): boolean {
  const [address = '', length = '32'] = route.split('/')
  const bits = Math.min(16, Number(length))
  const mask = bits === 0 ? 0 : (0xffff << (16 - bits)) & 0xffff
  return (upper(network) & mask) === (upper(address) & mask)
}

function upper(address: string): number {
  const [a = 0, b = 0] = address.split('.').map(Number)
  return (a << 8) | b
}
