/**
 * What every object of Postern has besides its spec: metadata and status conditions, as Kubernetes has them.
 * Source: k8s.io/apimachinery meta/v1 ObjectMeta and Condition; only what Postern reads or writes is typed.
 */

export interface ObjectMeta {
  readonly name: string
  /** Absent for cluster-scoped kinds. */
  readonly namespace?: string
  readonly uid?: string
  readonly generation?: number
  readonly resourceVersion?: string
  /** RFC 3339. */
  readonly creationTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

export interface Condition {
  readonly type: string
  readonly status: 'True' | 'False' | 'Unknown'
  readonly observedGeneration?: number
  /** RFC 3339. */
  readonly lastTransitionTime: string
  readonly reason: string
  readonly message: string
}
