/**
 * SPIFFE ids: parsing, formatting and the one path shape that Postern issues.
 * Must never accept what another implementation would read differently.
 * Source: SPIFFE-ID specification §2 (trust domain, path), X509-SVID §2.
 */

export interface WorkloadIdentity {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/
const SEGMENT = /^[A-Za-z0-9._-]+$/
const WORKLOAD_PATH = /^\/ns\/([^/]+)\/sa\/([^/]+)$/
const MAX_BYTES = 2048

/** Namespace and service account of the controller itself; nobody else is issued this identity. */
export const CONTROLLER_NAMESPACE = 'postern-system'
export const CONTROLLER_SERVICE_ACCOUNT = 'postern-controller'

export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text)
}

/** Whether `text` is a well-formed SPIFFE id with a path. Source: SPIFFE-ID §2. */
export function isSpiffeId(text: string): boolean {
  if (text.length > MAX_BYTES || !text.startsWith('spiffe://')) return false
  const rest = text.slice('spiffe://'.length)
  const slash = rest.indexOf('/')
  if (slash <= 0 || !isTrustDomain(rest.slice(0, slash))) return false
  const segments = rest.slice(slash + 1).split('/')
  return segments.every((s) => SEGMENT.test(s) && s !== '.' && s !== '..')
}

/** `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`. */
export function formatSpiffeId(id: WorkloadIdentity): string {
  return `spiffe://${id.trustDomain}/ns/${id.namespace}/sa/${id.serviceAccount}`
}

/** The identity in a SPIFFE id of Postern's shape, or undefined for any other text. */
export function parseSpiffeId(text: string): WorkloadIdentity | undefined {
  if (!isSpiffeId(text)) return undefined
  const rest = text.slice('spiffe://'.length)
  const slash = rest.indexOf('/')
  const match = WORKLOAD_PATH.exec(rest.slice(slash))
  if (match === null) return undefined
  const [, namespace, serviceAccount] = match
  if (namespace === undefined || serviceAccount === undefined) return undefined
  return { trustDomain: rest.slice(0, slash), namespace, serviceAccount }
}

/** The controller's reserved SPIFFE id in a trust domain (DESIGN §3). */
export function controllerSpiffeId(trustDomain: string): string {
  return formatSpiffeId({
    trustDomain,
    namespace: CONTROLLER_NAMESPACE,
    serviceAccount: CONTROLLER_SERVICE_ACCOUNT,
  })
}
