/**
 * What the API server asks before it stores an object, and what it is answered. JSON in and out.
 * Source: Kubernetes API admission.k8s.io/v1 AdmissionReview.
 */
import { isRecord } from '../crd/finding.ts'
import type { JsonPatch } from '../inject/json-patch.ts'

export interface AdmissionRequest {
  readonly uid: string
  readonly group: string
  readonly kind: string
  readonly operation: string
  /** Empty: of no namespace. */
  readonly namespace: string
  readonly subResource: string
  /** Absent: it is deleted. */
  readonly object?: Readonly<Record<string, unknown>>
}

export interface Cause {
  readonly field: string
  readonly message: string
}

export type Verdict =
  | { readonly allowed: true; readonly patch?: JsonPatch; readonly warnings: readonly string[] }
  | {
      readonly allowed: false
      readonly message: string
      readonly causes: readonly Cause[]
      readonly warnings: readonly string[]
    }

export const ALLOWED: Verdict = { allowed: true, warnings: [] }

const VERSION = 'admission.k8s.io/v1'
/** What kubectl shows; more would be cut by the API server. */
const MAX_WARNINGS = 16
const MAX_WARNING = 256
const MAX_CAUSES = 32

/** Undefined: it is no review of this version. */
export function readReview(text: string): AdmissionRequest | undefined {
  let review: unknown
  try {
    review = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isRecord(review) || review.apiVersion !== VERSION || !isRecord(review.request))
    return undefined
  const { uid, kind, operation, namespace = '', subResource = '', object } = review.request
  if (typeof uid !== 'string' || uid === '' || !isRecord(kind)) return undefined
  return {
    uid,
    group: String(kind.group ?? ''),
    kind: String(kind.kind),
    operation: String(operation),
    namespace: String(namespace),
    subResource: String(subResource),
    ...(isRecord(object) ? { object } : {}),
  }
}

export function toReview(uid: string, verdict: Verdict): object {
  const warnings = verdict.warnings.slice(0, MAX_WARNINGS).map((text) => oneLine(text))
  const said = warnings.length === 0 ? {} : { warnings }
  return {
    apiVersion: VERSION,
    kind: 'AdmissionReview',
    response: { uid, ...said, ...(verdict.allowed ? allow(verdict.patch) : deny(verdict)) },
  }
}

function allow(patch: JsonPatch = []): object {
  if (patch.length === 0) return { allowed: true }
  const encoded = Buffer.from(JSON.stringify(patch)).toString('base64')
  return { allowed: true, patchType: 'JSONPatch', patch: encoded }
}

function deny({ message, causes }: Extract<Verdict, { allowed: false }>): object {
  const details = { causes: causes.slice(0, MAX_CAUSES) }
  return { allowed: false, status: { code: 422, reason: 'Invalid', message, details } }
}

/** A header carries it. */
function oneLine(text: string): string {
  const plain = text.replace(/[^\x20-\x7e]+/g, ' ')
  return plain.length > MAX_WARNING ? `${plain.slice(0, MAX_WARNING - 3)}...` : plain
}
