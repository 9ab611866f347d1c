/**
 * How a service is called and what its own side takes, as its BackendTrafficPolicy says. What is absent is the default
 * (core/xds/limits). Times are in milliseconds; 0 means none.
 */

export interface BackendTraffic {
  readonly connectTimeoutMs?: number
  readonly requestTimeoutMs?: number
  /** A stream, or a TCP connection, on which nothing moves. */
  readonly idleTimeoutMs?: number
  readonly retries?: RetrySettings
  readonly circuitBreaking?: CircuitBreakingSettings
  readonly outlierDetection?: OutlierSettings
  /** What the service's own side takes: callers keep to it. */
  readonly limits?: InboundLimits
}

/** What never reached a server is tried again with any method; the rest only for `methods`. */
export interface RetrySettings {
  /** Beside the first try. */
  readonly attempts: number
  readonly perTryTimeoutMs?: number
  /** Sorted. */
  readonly methods: readonly string[]
  /** The stream ended, or the try's time passed, before an answer began. */
  readonly onReset: boolean
  /** gRPC status UNAVAILABLE. */
  readonly onUnavailable: boolean
  /** 500 to 599: a denial is none of them. Sorted. */
  readonly statusCodes: readonly number[]
  readonly budgetPercent?: number
}

export interface CircuitBreakingSettings {
  readonly maxConnections?: number
  readonly maxPendingRequests?: number
  readonly maxRequests?: number
  /** In place of the retry budget. */
  readonly maxRetries?: number
}

export interface OutlierSettings {
  /** 0: never. */
  readonly consecutiveGatewayErrors: number
  /** 0: never. */
  readonly consecutive5xxErrors: number
  readonly intervalMs: number
  readonly baseEjectionTimeMs: number
  readonly maxEjectionPercent: number
}

/** For HTTP ports. */
export interface InboundLimits {
  /** A multiple of 1024. */
  readonly maxRequestHeaderBytes?: number
  readonly maxRequestBodyBytes?: number
  /** A connection without a request. */
  readonly idleTimeoutMs?: number
}
