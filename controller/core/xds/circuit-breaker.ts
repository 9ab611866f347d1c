/** What a cluster takes at once, and when an endpoint is left out: the caller's side of a BackendTrafficPolicy. */
import { create } from '@bufbuild/protobuf'
import {
  type CircuitBreakers,
  CircuitBreakersSchema,
} from '../../../proto/gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import {
  type OutlierDetection,
  OutlierDetectionSchema,
} from '../../../proto/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import type { BackendTraffic, OutlierSettings } from '../model/traffic.ts'
import { duration } from './encode.ts'
import * as limits from './limits.ts'

export function buildCircuitBreakers(traffic: BackendTraffic = {}): CircuitBreakers {
  const { maxConnections, maxPendingRequests, maxRequests, maxRetries } =
    traffic.circuitBreaking ?? {}
  const budget = {
    budgetPercent: { value: traffic.retries?.budgetPercent ?? limits.RETRY_BUDGET_PERCENT },
    minRetryConcurrency: limits.RETRY_BUDGET_MIN_CONCURRENCY,
  }
  return create(CircuitBreakersSchema, {
    thresholds: [
      {
        maxConnections: maxConnections ?? limits.CIRCUIT_BREAKER_LIMIT,
        maxPendingRequests: maxPendingRequests ?? limits.CIRCUIT_BREAKER_LIMIT,
        maxRequests: maxRequests ?? limits.CIRCUIT_BREAKER_LIMIT,
        ...(maxRetries === undefined ? { retryBudget: budget } : { maxRetries }),
      },
    ],
  })
}

/** Only what the policy names: Envoy's statistical detection would throw out endpoints for what it finds unusual. */
export function buildOutlierDetection(outlier: OutlierSettings): OutlierDetection {
  const { consecutiveGatewayErrors: gateway, consecutive5xxErrors: any5xx } = outlier
  return create(OutlierDetectionSchema, {
    interval: duration(outlier.intervalMs),
    baseEjectionTime: duration(outlier.baseEjectionTimeMs),
    maxEjectionPercent: outlier.maxEjectionPercent,
    ...(gateway > 0 ? { consecutiveGatewayFailure: gateway } : {}),
    enforcingConsecutiveGatewayFailure: gateway > 0 ? 100 : 0,
    ...(any5xx > 0 ? { consecutive5xx: any5xx } : {}),
    enforcingConsecutive5xx: any5xx > 0 ? 100 : 0,
    enforcingSuccessRate: 0,
    enforcingFailurePercentage: 0,
  })
}
