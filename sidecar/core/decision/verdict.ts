/**
 * The end of a decision: whether, why, and exactly what Envoy is told.
 * In: what `common/authz` decided, or the code of a failure. Out: a Verdict; both the reply and the log come from it.
 * `refuse` is the one place where a failure becomes a denial; nothing here turns a refusal into an allow.
 */
import type { AuthzDecision } from '../../../common/authz/combine.ts'
import { GUARD_PATH, type GuardName } from '../../../common/authz/guards.ts'
import { MeshError, type MeshErrorCode } from '../../../common/errors.ts'
import type { PolicySet } from '../../../common/policy-set.ts'
import { policyId } from '../../../common/policy-set.ts'
import { mergeMutations } from './merge.ts'
import {
  type Denial,
  type Mutation,
  PolicyResultError,
  parseDenial,
  parseMutation,
} from './policy-result.ts'

export type Verdict = {
  /** `namespace/name`, `default`, `guard/<name>`, or '' when nothing was asked. */
  readonly policy: string
  readonly rule?: string
  readonly reason: string
  readonly error?: { readonly code: string; readonly message: string }
  /** AUDIT and Shadow policies that would have matched. */
  readonly shadow: readonly string[]
  readonly failedOpen: readonly string[]
  /** What the deciding policy said. */
  readonly result: unknown
  /** Entrypoint of the deciding Rego. */
  readonly path?: string
} & (
  | { readonly allowed: true; readonly mutation: Mutation }
  | { readonly allowed: false; readonly denial: Denial }
)

const STATUS: Readonly<Record<string, number>> = { ERR_INPUT_INVALID: 400, [GUARD_PATH]: 400 }
const FORBIDDEN = 403
/** "Could not decide" is not "denied": a client may try again. */
const UNAVAILABLE = 503

/** The verdict on a request that was decided. */
export function toVerdict(set: PolicySet, decision: AuthzDecision): Verdict {
  const { allowed, policy, reason, rule, error } = decision
  const entrypoint = set.policies.find((p) => policyId(p) === policy)?.rego?.entrypoint
  const outcome = decision.outcomes.get(policy)
  const common = {
    policy,
    reason,
    ...(rule === undefined ? {} : { rule }),
    ...(error === undefined ? {} : { error }),
    ...(entrypoint === undefined || outcome === undefined ? {} : { path: entrypoint }),
    shadow: [...decision.shadow, ...decision.audit],
    failedOpen: decision.failedOpen,
    result: outcome?.kind === 'result' ? (outcome.object ?? outcome.allowed) : allowed,
  }
  if (!allowed) return { ...common, allowed: false, denial: denialOf(decision) }
  try {
    return { ...common, allowed: true, mutation: mutationOf(decision) }
  } catch (cause) {
    if (!(cause instanceof PolicyResultError)) throw cause
    return { ...common, ...failure('ERR_POLICY_RESULT', cause.message) }
  }
}

/** The verdict when there is no decision: nothing to decide by, or something failed. */
export function refuse(code: MeshErrorCode, message: string): Verdict {
  const nothing = { policy: '', shadow: [], failedOpen: [], result: null }
  return { ...nothing, ...failure(code, message) }
}

/** The verdict when something was thrown. */
export function refuseFor(error: unknown): Verdict {
  const code = error instanceof MeshError ? error.code : 'ERR_INTERNAL'
  return refuse(code, error instanceof Error ? error.message : String(error))
}

/** The verdict of a guard: it stands before every policy. */
export function refuseByGuard(guard: GuardName): Verdict {
  const base = { policy: guard, reason: 'matched', shadow: [], failedOpen: [], result: false }
  return { ...base, allowed: false, denial: plainDenial(STATUS[guard] ?? FORBIDDEN, '') }
}

function failure(code: string, message: string) {
  return {
    allowed: false as const,
    reason: code,
    error: { code, message },
    denial: plainDenial(STATUS[code] ?? UNAVAILABLE, code),
  }
}

function denialOf(decision: AuthzDecision): Denial {
  if (decision.error !== undefined)
    return plainDenial(STATUS[decision.error.code] ?? UNAVAILABLE, decision.error.code)
  const outcome = decision.denial === undefined ? undefined : decision.outcomes.get(decision.denial)
  if (outcome?.kind !== 'result' || outcome.object === undefined) return plainDenial(FORBIDDEN, '')
  return parseDenial(outcome.object)
}

function mutationOf(decision: AuthzDecision): Mutation {
  const objects = decision.matchedAllow.flatMap((id) => {
    const outcome = decision.outcomes.get(id)
    return outcome?.kind === 'result' && outcome.object !== undefined ? [outcome.object] : []
  })
  return mergeMutations(objects.map(parseMutation))
}

function plainDenial(status: number, body: string): Denial {
  return { status, headers: [], body, dynamicMetadata: {} }
}
