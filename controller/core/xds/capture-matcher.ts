/**
 * Which filter chain takes a captured connection, by the address that it was meant for. A matcher beside the chains, so
 * that endpoints which come and go change no chain and end no connection.
 *
 *   a service's virtual address : its port's number      → that service
 *   an endpoint's address : its port                     → that endpoint
 *   either of them : another number                      → as unknown; a host must not lead to another service
 *   any other address : a number on which services speak HTTP → by the request's host
 *   the capture port itself                              → closed: it would call itself without end
 *   anything else                                        → unknown: closed or passed, as the Mesh says
 */
import { create } from '@bufbuild/protobuf'
import {
  DestinationIPInputSchema,
  DestinationPortInputSchema,
} from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  type Matcher,
  type Matcher_OnMatch,
  Matcher_OnMatchSchema,
  MatcherSchema,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import type { Capture } from '../model/mesh.ts'
import { BLOCKED, directName, hostName, PASSED, plainDirectName, vipName } from './capture-names.ts'
import { extension, toChain } from './encode.ts'

/** Port number → chain. */
type Ports = Map<number, string>

export function buildCaptureMatcher(capture: Capture, hostPorts: readonly number[]): Matcher {
  const unknown = capture.mode === 'AllowAny' ? PASSED : BLOCKED
  const byHost: Ports = new Map(hostPorts.map((port) => [port, hostName(port)]))
  const addresses = addressesOf(capture)
  const ownPort: Ports = new Map([[capture.port, BLOCKED]])
  addresses.set(capture.address, new Map([...(addresses.get(capture.address) ?? []), ...ownPort]))
  const branches = [...addresses].map(
    ([address, ports]) => [address, toNested(matchPort(ports, unknown))] as const,
  )
  return create(MatcherSchema, {
    matcherType: {
      case: 'matcherTree',
      value: {
        input: extension('destination_ip', DestinationIPInputSchema, {}),
        treeType: { case: 'exactMatchMap', value: { map: Object.fromEntries(branches) } },
      },
    },
    onNoMatch: toNested(matchPort(byHost, unknown)),
  })
}

/** Virtual addresses come last: translation sees to it that none is also an endpoint's. */
function addressesOf({ services }: Capture): Map<string, Ports> {
  const addresses = new Map<string, Ports>()
  const add = (address: string, port: number, chain: string) => {
    const ports = addresses.get(address) ?? new Map<number, string>()
    addresses.set(address, ports.set(port, chain))
  }
  for (const port of services.flatMap((service) => service.ports)) {
    for (const { address, port: number, mtls } of port.endpoints) {
      add(address, number, mtls === 'DISABLE' ? plainDirectName(port) : directName(port))
    }
  }
  for (const service of services) {
    for (const port of service.ports) {
      for (const address of service.addresses) add(address, port.number, vipName(port))
    }
  }
  return addresses
}

function matchPort(ports: Ports, otherwise: string): Matcher {
  const onNoMatch = toChain(otherwise)
  if (ports.size === 0) return create(MatcherSchema, { onNoMatch })
  const map = [...ports].map(([port, chain]) => [String(port), toChain(chain)] as const)
  return create(MatcherSchema, {
    matcherType: {
      case: 'matcherTree',
      value: {
        input: extension('destination_port', DestinationPortInputSchema, {}),
        treeType: { case: 'exactMatchMap', value: { map: Object.fromEntries(map) } },
      },
    },
    onNoMatch,
  })
}

function toNested(matcher: Matcher): Matcher_OnMatch {
  return create(Matcher_OnMatchSchema, { onMatch: { case: 'matcher', value: matcher } })
}
