/**
 * Retries towards a service (caller's side). What the server cannot have seen is tried again with any method; what it
 * may have worked on, only with the methods that its BackendTrafficPolicy lists. What a policy denied is never tried
 * again: the server's Envoy marks it (request-hygiene.ts), and a 403 is no status code that can be listed.
 */
import { create } from '@bufbuild/protobuf'
import {
  type RetryPolicy,
  RetryPolicySchema,
} from '../../../proto/gen/envoy/config/route/v3/route_components_pb.js'
import { PreviousHostsPredicateSchema } from '../../../proto/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js'
import type { RetrySettings } from '../model/traffic.ts'
import { duration, pack } from './encode.ts'
import * as limits from './limits.ts'

const NEVER_ARRIVED = ['connect-failure', 'refused-stream', 'reset-before-request']

/** For every method; undefined: nothing is tried again. */
export function buildSafeRetries(retries: RetrySettings | undefined): RetryPolicy | undefined {
  return buildRetries(NEVER_ARRIVED, retries)
}

/** For the methods that `retries` lists; undefined: as with any other method. */
export function buildMethodRetries(retries: RetrySettings): RetryPolicy | undefined {
  const { onReset, onUnavailable, statusCodes } = retries
  const more = [
    ...(onReset ? ['reset'] : []),
    ...(onUnavailable ? ['unavailable'] : []),
    ...(statusCodes.length > 0 ? ['retriable-status-codes'] : []),
  ]
  const isSame = more.length === 0 || retries.methods.length === 0
  return isSame ? undefined : buildRetries([...NEVER_ARRIVED, ...more], retries)
}

function buildRetries(on: readonly string[], retries: RetrySettings | undefined) {
  const attempts = retries?.attempts ?? limits.RETRIES
  if (attempts === 0) return undefined
  const { perTryTimeoutMs, statusCodes = [] } = retries ?? {}
  return create(RetryPolicySchema, {
    retryOn: on.join(','),
    numRetries: attempts,
    retryBackOff: {
      baseInterval: duration(limits.RETRY_BASE_INTERVAL_MS),
      maxInterval: duration(limits.RETRY_MAX_INTERVAL_MS),
    },
    // Another endpoint, where there is one: the first is the likelier to fail again.
    retryHostPredicate: [
      {
        name: 'envoy.retry_host_predicates.previous_hosts',
        configType: { case: 'typedConfig', value: pack(PreviousHostsPredicateSchema, {}) },
      },
    ],
    hostSelectionRetryMaxAttempts: BigInt(limits.RETRY_ENDPOINT_CHOICES),
    ...(perTryTimeoutMs === undefined ? {} : { perTryTimeout: duration(perTryTimeoutMs) }),
    ...(on.includes('retriable-status-codes') ? { retriableStatusCodes: [...statusCodes] } : {}),
  })
}
