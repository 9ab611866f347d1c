/**
 * The ports of a workload whose every port is captured: beside those that are declared, each that a policy or a
 * PeerAuthentication names, so that in what is left no port is named by anybody, and what is said there is exact.
 */
import type { Operation, Policy, Rule } from '../../../common/policy-set.ts'
import type { InboundPort } from '../model/mesh.ts'

/** Ports of the proxy itself, which nobody's app has: captured connections, health, metrics. */
export const PROXY_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15020, 15021, 15090])

type Port = Omit<InboundPort, 'mtls'>

/**
 * From where the proxy calls an app at the pod's own address: such a connection is made on loopback, and the redirect
 * must tell it from what the app, or its proxy, sends to the pod's own address for the mesh to decide. As Istio does.
 */
export function appSourceOf(address: string): string {
  return address.includes(':') ? '::6' : '127.0.0.6'
}

/** `ports`, and the named ones as TCP: nobody said what they speak. */
export function addNamedPorts(
  ports: readonly Port[],
  address: string,
  named: { readonly policies: readonly Policy[]; readonly others: readonly number[] },
): readonly Port[] {
  const declared = new Set(ports.map(({ port }) => port))
  const numbers = [...named.policies.flatMap(portsNamedBy), ...named.others]
  const more = [...new Set(numbers)]
    .filter((port) => port > 0 && !declared.has(port) && !PROXY_PORTS.has(port))
    .sort((a, b) => a - b)
  const all = [...ports, ...more.map((port) => toPort(port, address))]
  return all.map((port) => ({ ...port, appSource: appSourceOf(address) }))
}

function portsNamedBy({ rules = [] }: Policy): readonly number[] {
  return rules.flatMap((rule) => [...rule.to.flatMap(operationPorts), ...conditionPorts(rule)])
}

function operationPorts({ ports }: Operation): readonly number[] {
  return [...ports.is, ...ports.not]
}

function conditionPorts({ when }: Rule): readonly number[] {
  return when.flatMap((condition) => {
    if (condition.key.kind !== 'destination.port' || !('values' in condition)) return []
    return [...condition.values.is, ...condition.values.not].flatMap((match) =>
      'value' in match ? [Number(match.value)] : [],
    )
  })
}

function toPort(port: number, address: string): Port {
  return {
    name: `port-${port}`,
    address,
    port,
    appAddress: address,
    appPort: port,
    protocol: 'TCP',
    serverFirst: false,
  }
}
