/**
 * Routes. To the app: no timeout on the whole request (streams must live), no retry (it may have acted), and the size
 * of a body where its BackendTrafficPolicy bounds it. To a service: as its BackendTrafficPolicy says (retry.ts).
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type RetryPolicy,
  type Route,
  type RouteMatchSchema,
  RouteSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_components_pb.js'
import {
  type RouteConfiguration,
  RouteConfigurationSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import type { Destination } from '../model/mesh.ts'
import type { BackendTraffic, InboundLimits } from '../model/traffic.ts'
import { buildBodyRoutes } from './body-limit.ts'
import { duration } from './encode.ts'
import { serviceClusterName } from './names.ts'
import { NOT_RETRIABLE_HEADER } from './request-hygiene.ts'
import { buildMethodRetries, buildSafeRetries } from './retry.ts'

type MatchInit = MessageInitShape<typeof RouteMatchSchema>

export function buildAppRoute(cluster: string, limits: InboundLimits = {}): RouteConfiguration {
  const toApp = buildRoute(cluster, ANY_PATH)
  const isBounded = limits.maxRequestBodyBytes !== undefined
  return create(RouteConfigurationSchema, {
    name: cluster,
    virtualHosts: [
      {
        name: cluster,
        domains: ['*'],
        routes: isBounded ? buildBodyRoutes(toApp) : [toApp],
      },
    ],
  })
}

/** The routes to a destination, by cluster `name`. Delivered by RDS: a change of its traffic policy touches no listener. */
export function buildServiceRoute(
  port: Destination,
  name = serviceClusterName(port),
): RouteConfiguration {
  return create(RouteConfigurationSchema, {
    name,
    virtualHosts: [{ name, domains: ['*'], routes: buildServiceRoutes(name, port.traffic) }],
    responseHeadersToRemove: [NOT_RETRIABLE_HEADER],
  })
}

export function buildServiceRoutes(cluster: string, traffic: BackendTraffic = {}): Route[] {
  const { retries } = traffic
  const byMethod = retries === undefined ? undefined : buildMethodRetries(retries)
  const rest = buildRoute(cluster, ANY_PATH, traffic, buildSafeRetries(retries))
  if (byMethod === undefined || retries === undefined) return [rest]
  const match = { ...ANY_PATH, headers: [methodIn(retries.methods)] }
  return [{ ...buildRoute(cluster, match, traffic, byMethod), name: `${cluster}/retried` }, rest]
}

export const ANY_PATH = {
  pathSpecifier: { case: 'prefix', value: '/' },
} as const satisfies MatchInit

export function buildRoute(
  cluster: string,
  match: MatchInit,
  { requestTimeoutMs = 0, idleTimeoutMs }: BackendTraffic = {},
  retryPolicy?: RetryPolicy,
): Route {
  return create(RouteSchema, {
    name: cluster,
    match,
    action: {
      case: 'route',
      value: {
        clusterSpecifier: { case: 'cluster', value: cluster },
        timeout: duration(requestTimeoutMs),
        ...(idleTimeoutMs === undefined ? {} : { idleTimeout: duration(idleTimeoutMs) }),
        ...(retryPolicy === undefined ? {} : { retryPolicy }),
      },
    },
  })
}

/** Methods are plain words, by the CRD. */
function methodIn(methods: readonly string[]) {
  return {
    name: ':method',
    headerMatchSpecifier: {
      case: 'stringMatch' as const,
      value: {
        matchPattern: { case: 'safeRegex' as const, value: { regex: methods.join('|') } },
      },
    },
  }
}
