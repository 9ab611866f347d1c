/** What `postern analyze` finds, and what its checks look at. Values only. */
import type { ObjectRef, SourceLocation } from '../../../common/errors.ts'
import type { Policy, Rule } from '../../../common/policy-set.ts'
import type { AuthorizationPolicy, PeerAuthentication, PolicyLibrary } from '../crd/index.ts'
import type { MeshSettings, Workload } from '../model/mesh.ts'

/** `error`: the controller refuses it, or it does the opposite of what it says. `warning`: hardly meant. `info`: good to know. */
export type Severity = 'error' | 'warning' | 'info'

export interface LintFinding {
  /** `ERR_…` of docs/reference/errors.md, or `LINT_…` of docs/reference/analyze.md. */
  readonly code: string
  readonly severity: Severity
  readonly object?: ObjectRef
  /** JSON path in the object; empty for the whole. */
  readonly field: string
  readonly message: string
  readonly remedy: string
  readonly source?: SourceLocation
}

/** Without code, object and place, which the table of checks and the subject add. */
export interface Observation {
  readonly field: string
  readonly message: string
  /** Another than the check's own. */
  readonly severity?: Severity
}

/** One AuthorizationPolicy, read as the mesh reads it. */
export interface PolicySubject {
  readonly object: AuthorizationPolicy
  readonly policy: Policy
  /** What it applies to. */
  readonly workloads: readonly Workload[]
  readonly isMeshWide: boolean
}

/** A rule with the policy that it stands in. */
export interface RuleSubject {
  readonly subject: PolicySubject
  readonly rule: Rule
  /** `spec.rules[i]`. */
  readonly field: string
}

export interface PeerSubject {
  readonly object: PeerAuthentication
  readonly scope: 'workload' | 'namespace' | 'mesh'
  readonly workloads: readonly Workload[]
}

/** Everything that the manifests say, as far as it is valid. */
export interface Estate {
  readonly mesh: MeshSettings
  readonly hasMesh: boolean
  readonly workloads: readonly Workload[]
  readonly policies: readonly PolicySubject[]
  readonly rules: readonly RuleSubject[]
  /** Oldest first. */
  readonly peers: readonly PeerSubject[]
  readonly libraries: readonly PolicyLibrary[]
}
