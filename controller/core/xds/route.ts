/**
 * Routes: one cluster behind each listener. No timeout on the whole request (streams must live), no retry towards the
 * app (it may have acted), and towards a service only what the server cannot have seen.
 */
import { create } from '@bufbuild/protobuf'
import {
  type RetryPolicy,
  RetryPolicySchema,
} from '../../../proto/gen/envoy/config/route/v3/route_components_pb.js'
import {
  type RouteConfiguration,
  RouteConfigurationSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import { duration } from './encode.ts'
import * as limits from './limits.ts'

export function buildAppRoute(cluster: string): RouteConfiguration {
  return buildRoute(cluster)
}

export function buildServiceRoute(cluster: string): RouteConfiguration {
  return buildRoute(cluster, buildRetries())
}

function buildRoute(cluster: string, retryPolicy?: RetryPolicy): RouteConfiguration {
  return create(RouteConfigurationSchema, {
    name: cluster,
    virtualHosts: [
      {
        name: cluster,
        domains: ['*'],
        routes: [
          {
            name: cluster,
            match: { pathSpecifier: { case: 'prefix', value: '/' } },
            action: {
              case: 'route',
              value: {
                clusterSpecifier: { case: 'cluster', value: cluster },
                timeout: duration(0),
                ...(retryPolicy === undefined ? {} : { retryPolicy }),
              },
            },
          },
        ],
      },
    ],
  })
}

function buildRetries(): RetryPolicy {
  return create(RetryPolicySchema, {
    retryOn: 'connect-failure,refused-stream,reset-before-request',
    numRetries: limits.RETRIES,
    retryBackOff: {
      baseInterval: duration(limits.RETRY_BASE_INTERVAL_MS),
      maxInterval: duration(limits.RETRY_MAX_INTERVAL_MS),
    },
  })
}
