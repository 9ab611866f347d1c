/**
 * The three kinds of failure, never mixed (STYLE §7).
 * Problem: the user's object is wrong; a value, collected, shown in status and log.
 * MeshError: the world failed (network, disk, peer). A bug is an assert and ends the process.
 * Every code stands here once; it is condition reason, metric label and log field alike.
 */

/** Codes of problems in a user's manifests. */
export const PROBLEM_CODES = [
  'ERR_MANIFEST_NOT_YAML',
  'ERR_MANIFEST_NOT_READABLE',
  'ERR_MANIFEST_TOO_LARGE',
  'ERR_OBJECT_UNKNOWN_KIND',
  'ERR_OBJECT_DUPLICATE',
  'ERR_OBJECT_NAME',
  'ERR_FIELD_UNKNOWN',
  'ERR_FIELD_TYPE',
  'ERR_FIELD_VALUE',
  'ERR_FIELD_REQUIRED',
  'ERR_RULE_VIOLATED',
  'ERR_CIDR',
  'ERR_SPIFFE_ID',
  'ERR_REFERENCE_NOT_FOUND',
  'ERR_TARGET_SELECTS_NOTHING',
  'ERR_CA_DELETED',
  'ERR_CA_LOST',
  'ERR_CA_DAMAGED',
  'ERR_MESH_MISSING',
  'ERR_PORT_CONFLICT',
  'ERR_POLICY_CONFLICT',
  'ERR_REGO_PARSE',
  'ERR_REGO_COMPILE',
  'ERR_REGO_ENTRYPOINT',
  'ERR_REGO_TIMEOUT',
  'ERR_NOT_ENFORCEABLE',
  'ERR_PROXY_NACK',
] as const

/** Codes of failures of the world, of a peer, or of a decision. */
export const MESH_ERROR_CODES = [
  'ERR_CA_NOT_READY',
  'ERR_CSR_INVALID',
  'ERR_TOKEN_INVALID',
  'ERR_TOKEN_EXPIRED',
  'ERR_TOKEN_USED',
  'ERR_CREDENTIAL_INVALID',
  'ERR_CREDENTIAL_REVOKED',
  'ERR_NONCE_INVALID',
  'ERR_RATE_LIMITED',
  'ERR_WORKLOAD_NOT_FOUND',
  'ERR_CONTROLLER_UNTRUSTED',
  'ERR_CONTROLLER_UNAVAILABLE',
  'ERR_PEER_FORBIDDEN',
  'ERR_PROXY_UNAVAILABLE',
  'ERR_ANSWER_TOO_LARGE',
  'ERR_STATE_CORRUPT',
  'ERR_STATE_WRITE',
  'ERR_ENVOY_EXITED',
  'ERR_TOOL_MISSING',
  'ERR_CONFIG',
  'ERR_NOT_FOUND',
  'ERR_BUNDLE_INVALID',
  'ERR_NO_BUNDLE',
  'ERR_INPUT_INVALID',
  'ERR_BODY_NOT_BUFFERED',
  'ERR_POLICY_ERROR',
  'ERR_POLICY_TIMEOUT',
  'ERR_POLICY_RESULT',
  'ERR_DECISION_LOG',
  'ERR_INTERNAL',
] as const

export type ProblemCode = (typeof PROBLEM_CODES)[number]
export type MeshErrorCode = (typeof MESH_ERROR_CODES)[number]
export type ErrorCode = ProblemCode | MeshErrorCode

/** Where in the user's files something stands. Lines and columns count from 1. */
export interface SourceLocation {
  readonly file: string
  /** Index of the YAML document in its file, from 1. */
  readonly document?: number
  readonly line?: number
  readonly column?: number
}

/** Names one object. `namespace` is absent for cluster-scoped kinds. */
export interface ObjectRef {
  readonly kind: string
  readonly namespace?: string
  readonly name: string
}

/** A mistake in a user's object. Messages: lower case, no period, no secrets. */
export interface Problem {
  readonly code: ProblemCode
  /** Absent when the document is too broken to name an object. */
  readonly object?: ObjectRef
  /** JSON path in the object, such as `spec.rules[0].from[0].principals[1]`; empty for the whole object. */
  readonly field: string
  readonly message: string
  /** What the user can do about it, as an imperative sentence. */
  readonly remedy: string
  readonly source?: SourceLocation
}

/** A failure of the world. `retry` says whether the same call may go through later. */
export class MeshError extends Error {
  override readonly name = 'MeshError'
  readonly code: MeshErrorCode
  readonly retry: 'backoff' | 'never'

  constructor(
    code: MeshErrorCode,
    message: string,
    options: { readonly retry?: 'backoff' | 'never'; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = code
    this.retry = options.retry ?? 'never'
  }
}

/** `kind/namespace/name`, or `kind/name` for cluster-scoped objects. */
export function formatRef(ref: ObjectRef): string {
  return ref.namespace === undefined
    ? `${ref.kind}/${ref.name}`
    : `${ref.kind}/${ref.namespace}/${ref.name}`
}

/** One line that names object, field, place and remedy. */
export function formatProblem(problem: Problem): string {
  const { source } = problem
  const place =
    source === undefined
      ? ''
      : `${source.file}${source.line === undefined ? '' : `:${source.line}:${source.column ?? 1}`}${
          source.document === undefined ? '' : ` (document ${source.document})`
        }: `
  const object = problem.object === undefined ? '' : `${formatRef(problem.object)}: `
  const field = problem.field === '' ? '' : `${problem.field}: `
  return `${place}${object}${field}${problem.message}; ${problem.remedy} [${problem.code}]`
}
