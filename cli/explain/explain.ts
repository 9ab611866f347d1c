/**
 * Which policy and rule decide a request, by the very configuration that Envoy and sidecar have: the RBAC trees are read
 * as Envoy reads them, what they leave is answered as the sidecar answers. In: one version of a workload's
 * configuration, a request. Out: the decision as its record would name it, and why every policy says what it says.
 */
import { decide } from '../../common/authz/combine.ts'
import { findGuard, type GuardName } from '../../common/authz/guards.ts'
import type { RequestAttributes } from '../../common/authz/request.ts'
import { type PolicyTrace, tracePolicies } from '../../common/authz/trace.ts'
import { unpackBundle } from '../../common/bundle.ts'
import { MeshError } from '../../common/errors.ts'
import type { PolicySet } from '../../common/policy-set.ts'
import {
  askAsSidecar,
  nameEnvoyRuling,
  type SidecarAnswer,
  type SidecarThread,
} from '../../sidecar/explain.ts'
import { type Arrived, arrive, type Refusal } from './arrive.ts'
import type { AskedRequest, Version } from './asked.ts'
import { toCheckRequest } from './check-request.ts'
import { type EnvoyRuling, readEnvoy } from './envoy.ts'

/** Where it is decided; `connection` and `http`: before any policy, without a record. */
export type DecidedIn = 'connection' | 'http' | 'rbac' | 'wasm'

export interface Explanation {
  readonly roles: readonly string[]
  readonly generation: string
  readonly revision: string
  readonly allowed: boolean
  readonly decidedIn: DecidedIn
  /** As in the decision record: `namespace/name`, `default`, `guard/<name>`; empty when there is no record. */
  readonly policy: string
  readonly rule?: string
  readonly reason: string
  readonly httpStatus?: number
  readonly error?: { readonly code: string; readonly message: string }
  /** AUDIT and Shadow policies that would have matched; recorded only where the sidecar decides. */
  readonly shadow: readonly string[]
  readonly failedOpen: readonly string[]
  readonly guard?: GuardName
  readonly defaultAction: string
  readonly policies: readonly PolicyTrace[]
  /** What policies see; absent: the request never came so far. */
  readonly seen?: Arrived
  /** What happens on the way, for people. */
  readonly notes: readonly string[]
}

export interface ExplainContext {
  /** SPIFFE id of the callee. */
  readonly ownId: string
  /** Epoch nanoseconds. */
  readonly nowNs: bigint
  /** Asked for what Envoy leaves open; default: a sidecar of its own for each question. */
  readonly sidecar?: Pick<SidecarThread, 'ask'>
}

/** Errors: ERR_NOT_FOUND (no such port), ERR_BUNDLE_INVALID, ERR_INTERNAL (lanes that differ: a bug). */
export async function explain(
  version: Version,
  asked: AskedRequest,
  context: ExplainContext,
): Promise<Explanation> {
  const archive = Buffer.from(version.archive, 'base64')
  const { set } = await unpackBundle(archive)
  const arrived = arrive(version, asked)
  if (!arrived.ok) return refusedBefore(version, set, arrived)
  const { request } = arrived
  const ruling = readEnvoy(version, request)
  if (ruling.protocol === 'tcp') return explainTcp(version, set, arrived, ruling)
  const answer = await askSidecar(request, { set, archive, ...context })
  return toExplanation(version, set, { arrived, ruling, answer })
}

interface Ok {
  readonly request: Arrived
  readonly notes: readonly string[]
}

function base(version: Version, set: PolicySet) {
  const { roles, generation, revision } = version
  const isShadow = set.defaultAction === 'DENY' && set.defaultMode === 'Shadow'
  const defaultAction = `${set.defaultAction}${isShadow ? ' (Shadow: only recorded)' : ''}`
  return { roles, generation, revision, defaultAction, shadow: [], failedOpen: [] }
}

function refusedBefore(version: Version, set: PolicySet, refusal: Refusal): Explanation {
  const { stage, why, status, notes } = refusal
  return {
    ...base(version, set),
    allowed: false,
    decidedIn: stage,
    policy: '',
    reason: why,
    ...(status === undefined ? {} : { httpStatus: status }),
    policies: [],
    notes,
  }
}

const NO_HTTP = { method: undefined, path: undefined, host: undefined }

/** Envoy alone decides about a connection; who allowed it the log takes from the set, as access-log.ts does. */
function explainTcp(
  version: Version,
  set: PolicySet,
  { request, notes }: Ok,
  ruling: EnvoyRuling,
): Explanation {
  const attributes = toAttributes(request, 'tcp')
  const guard = findGuard({ ...NO_HTTP, protocol: 'tcp', peer: request.principal })
  const decision = decide(set, attributes, () => ({ kind: 'undefined' }))
  const name = ruling.allowed ? (decision.rule ?? decision.policy) : ruling.name
  const named = nameEnvoyRuling({ allowed: ruling.allowed, name }, set)
  agree(ruling.allowed, guard === undefined && decision.allowed)
  return {
    ...base(version, set),
    allowed: ruling.allowed,
    decidedIn: 'rbac',
    ...named,
    shadow: [...decision.shadow, ...decision.audit],
    ...(guard === undefined ? {} : { guard }),
    policies: markDecider(tracePolicies(set, attributes, decision), named.policy),
    seen: request,
    notes,
  }
}

function askSidecar(
  request: Arrived,
  options: ExplainContext & { readonly set: PolicySet; readonly archive: Uint8Array },
): Promise<SidecarAnswer> {
  const { set, archive, ownId, nowNs, sidecar = { ask: askAsSidecar } } = options
  const readsBody = set.policies.some((p) => p.rego?.readsBody === true)
  const check = toCheckRequest({ ...request, ownId }, { readsBody, nowNs })
  return sidecar.ask({ set, archive, request: check, isBodyBuffered: readsBody, nowNs })
}

interface Found {
  readonly arrived: Ok
  readonly ruling: EnvoyRuling
  readonly answer: SidecarAnswer
}

/** What Envoy's tree leaves open the sidecar decides; what the tree decides the sidecar must say too. */
function toExplanation(version: Version, set: PolicySet, found: Found): Explanation {
  const { arrived, ruling, answer } = found
  const { request, notes } = arrived
  const said = ruling.isFinal ? sayAsEnvoy(ruling, set) : sayAsSidecar(answer)
  if (ruling.isFinal) agree(ruling.allowed, answer.record.postern.allowed)
  const guard = findGuard({ ...request, protocol: 'http', peer: request.principal })
  const decision = { policy: said.policy, outcomes: answer.outcomes }
  return {
    ...base(version, set),
    ...said,
    ...(guard === undefined ? {} : { guard }),
    policies: tracePolicies(set, toAttributes(request, 'http'), decision),
    seen: request,
    notes,
  }
}

type Said = Pick<Explanation, 'allowed' | 'decidedIn' | 'policy' | 'rule' | 'reason'> &
  Partial<Pick<Explanation, 'httpStatus' | 'error' | 'shadow' | 'failedOpen'>>

const FORBIDDEN = 403

function sayAsEnvoy(ruling: EnvoyRuling, set: PolicySet): Said {
  const { allowed } = ruling
  const named = nameEnvoyRuling(ruling, set)
  return { allowed, decidedIn: 'rbac', ...named, ...(allowed ? {} : { httpStatus: FORBIDDEN }) }
}

function sayAsSidecar({ record }: SidecarAnswer): Said {
  const { allowed, policy, reason, rule, httpStatus, shadow, failedOpen } = record.postern
  return {
    ...{ allowed, decidedIn: 'wasm', policy, reason },
    ...(rule === undefined ? {} : { rule }),
    ...(httpStatus === undefined ? {} : { httpStatus }),
    ...(record.error === undefined ? {} : { error: record.error }),
    ...(shadow === undefined ? {} : { shadow }),
    ...(failedOpen === undefined ? {} : { failedOpen }),
  }
}

function markDecider(traces: readonly PolicyTrace[], policy: string): readonly PolicyTrace[] {
  return traces.map((t) => ({ ...t, decides: t.policy === policy }))
}

function toAttributes(request: Arrived, protocol: 'http' | 'tcp'): RequestAttributes {
  const { principal, sourceAddress, port: destinationPort } = request
  const connection = { protocol, principal, sourceAddress, destinationPort }
  if (protocol === 'tcp') return connection
  const { method, path, host, headers } = request
  return { ...connection, method, path, host, headers }
}

/** Promise 5 of the design. An explanation that covers a difference up would be worth nothing. */
function agree(envoy: boolean, sidecar: boolean): void {
  if (envoy === sidecar) return
  const word = (allowed: boolean) => (allowed ? 'allows' : 'denies')
  throw new MeshError(
    'ERR_INTERNAL',
    `Envoy’s tree ${word(envoy)} what the policies themselves would ${sidecar ? 'allow' : 'deny'}: report this, with the policies`,
  )
}
