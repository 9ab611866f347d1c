/**
 * Routes by host, for captured HTTP requests to an address that is nobody's: `orders`, `orders.shop`, … with and without
 * port. A host that no service has is answered 502, or goes where it was sent, as the Mesh says.
 */
import { create } from '@bufbuild/protobuf'
import {
  type Route,
  RouteSchema,
  type VirtualHost,
  VirtualHostSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_components_pb.js'
import {
  type RouteConfiguration,
  RouteConfigurationSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import type { Capture, Service, ServicePort } from '../model/mesh.ts'
import { hostsOf } from '../model/service.ts'
import { hostName, PASSED } from './capture-names.ts'
import { serviceClusterName } from './names.ts'
import { NOT_RETRIABLE_HEADER } from './request-hygiene.ts'
import { ANY_PATH, buildRoute, buildServiceRoutes } from './route.ts'

export interface NamedPort {
  readonly service: Service
  readonly port: ServicePort
}

/** The HTTP ports of all services by number, ascending. */
export function hostPortsOf(
  services: readonly Service[],
): ReadonlyMap<number, readonly NamedPort[]> {
  const byNumber = new Map<number, NamedPort[]>()
  for (const service of services) {
    for (const port of service.ports) {
      if (port.protocol === 'TCP') continue
      byNumber.set(port.number, [...(byNumber.get(port.number) ?? []), { service, port }])
    }
  }
  return new Map([...byNumber].sort(([a], [b]) => a - b))
}

export function buildHostRoute(
  number: number,
  named: readonly NamedPort[],
  caller: { readonly namespace: string; readonly mode: Capture['mode'] },
): RouteConfiguration {
  // Two ports of one service may have one number in different workloads; its hosts can only mean one of them.
  const byService = new Map(named.map((n) => [n.service, n] as const))
  return create(RouteConfigurationSchema, {
    name: hostName(number),
    virtualHosts: [
      ...[...byService.values()].map((n) => buildVirtualHost(n, caller.namespace)),
      create(VirtualHostSchema, {
        name: 'unknown',
        domains: ['*'],
        routes: [caller.mode === 'AllowAny' ? buildRoute(PASSED, ANY_PATH) : refuse()],
      }),
    ],
    ignorePortInHostMatching: true,
    responseHeadersToRemove: [NOT_RETRIABLE_HEADER],
  })
}

function buildVirtualHost({ service, port }: NamedPort, namespace: string): VirtualHost {
  const name = serviceClusterName(port)
  return create(VirtualHostSchema, {
    name,
    domains: [...hostsOf(service, namespace)],
    routes: buildServiceRoutes(name, port.traffic),
  })
}

function refuse(): Route {
  return create(RouteSchema, {
    name: 'unknown',
    match: ANY_PATH,
    action: {
      case: 'directResponse',
      value: {
        status: 502,
        body: {
          specifier: {
            case: 'inlineString',
            value: 'no service of the mesh has this host and port',
          },
        },
      },
    },
  })
}
