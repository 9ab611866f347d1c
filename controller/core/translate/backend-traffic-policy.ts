/**
 * BackendTrafficPolicies → how each service is called, and what its ports take. One policy counts for a service: the
 * oldest that names it; a younger one has a problem. A service is what WorkloadEntries make it.
 */
import type { Problem } from '../../../common/errors.ts'
import { parseDuration } from '../crd/duration.ts'
import type {
  BackendTrafficPolicy,
  BackendTrafficPolicyOutlierDetection,
  BackendTrafficPolicyRetries,
} from '../crd/index.ts'
import type {
  BackendTraffic,
  InboundLimits,
  OutlierSettings,
  RetrySettings,
} from '../model/traffic.ts'
import { attach, type Subject } from './attachment.ts'
import { compareAge, compareText, namespaceOf, refOf } from './objects.ts'

export interface TrafficTranslation {
  /** Of a service `namespace/name`. Undefined: all is default. */
  trafficOf(service: string): BackendTraffic | undefined
  readonly problems: readonly Problem[]
}

export function translateTrafficPolicies(
  objects: readonly BackendTrafficPolicy[],
  subjects: readonly Subject[],
): TrafficTranslation {
  const byService = new Map<string, { traffic: BackendTraffic; object: BackendTrafficPolicy }>()
  const problems: Problem[] = []
  for (const object of [...objects].sort(compareAge)) {
    const traffic = toTraffic(object)
    problems.push(...attach(object, subjects).problems)
    for (const [i, target] of object.spec.targetRefs.entries()) {
      const service = `${namespaceOf(object)}/${target.name}`
      const first = byService.get(service)
      if (first === undefined) byService.set(service, { traffic, object })
      else problems.push(conflict(object, i, first.object))
    }
  }
  return { trafficOf: (service) => byService.get(service)?.traffic, problems }
}

function conflict(
  object: BackendTrafficPolicy,
  index: number,
  older: BackendTrafficPolicy,
): Problem {
  const { name } = older.metadata
  return {
    code: 'ERR_POLICY_CONFLICT',
    object: refOf(object),
    field: `spec.targetRefs[${index}]`,
    message: `BackendTrafficPolicy "${name}" is older and names the same Service; it counts`,
    remedy: 'put both into one object, or remove the target from one of them',
  }
}

function toTraffic({ spec }: BackendTrafficPolicy): BackendTraffic {
  const { timeouts, retries, circuitBreaking, outlierDetection } = spec
  return defined({
    connectTimeoutMs: toMs(timeouts?.connect),
    requestTimeoutMs: toMs(timeouts?.request),
    idleTimeoutMs: toMs(timeouts?.idle),
    retries: retries === undefined ? undefined : toRetries(retries),
    circuitBreaking: circuitBreaking === undefined ? undefined : defined(circuitBreaking),
    outlierDetection: outlierDetection === undefined ? undefined : toOutlier(outlierDetection),
    limits: toLimits(spec.limits),
  })
}

function toRetries(retries: BackendTrafficPolicyRetries): RetrySettings {
  const perTryTimeoutMs = toMs(retries.perTryTimeout)
  return {
    attempts: retries.attempts,
    methods: [...retries.methods].sort(compareText),
    onReset: retries.retryOn.includes('Reset'),
    onUnavailable: retries.retryOn.includes('Unavailable'),
    // Stored objects outlive schemas: a denial is never tried again.
    statusCodes: retries.statusCodes.filter((code) => code >= 500).sort((a, b) => a - b),
    ...defined({ perTryTimeoutMs, budgetPercent: retries.budgetPercent }),
  }
}

function toOutlier(outlier: BackendTrafficPolicyOutlierDetection): OutlierSettings {
  const { consecutiveGatewayErrors, consecutive5xxErrors, maxEjectionPercent } = outlier
  return {
    consecutiveGatewayErrors,
    consecutive5xxErrors,
    intervalMs: toMs(outlier.interval) ?? 0,
    baseEjectionTimeMs: toMs(outlier.baseEjectionTime) ?? 0,
    maxEjectionPercent,
  }
}

function toLimits(limits: BackendTrafficPolicy['spec']['limits']): InboundLimits | undefined {
  if (limits === undefined) return undefined
  const { maxRequestHeaderBytes, maxRequestBodyBytes, idleTimeout } = limits
  return defined({ maxRequestHeaderBytes, maxRequestBodyBytes, idleTimeoutMs: toMs(idleTimeout) })
}

/** The schema has seen to the form. */
function toMs(text: string | undefined): number | undefined {
  return text === undefined ? undefined : parseDuration(text)
}

type Defined<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> }

/** Without the fields that are undefined. */
function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Defined<T>
}
