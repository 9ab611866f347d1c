/**
 * The value of a policy's entrypoint → what `common/authz` decides with.
 * A boolean, or an object whose `allowed` is a boolean; everything else, and an object that asks for what is never
 * done, is an error. An explicit refusal is never lost by a mistake in its decoration.
 */
import type { RegoOutcome } from '../../../common/authz/combine.ts'
import type { MeshErrorCode } from '../../../common/errors.ts'
import type { Policy } from '../../../common/policy-set.ts'
import { PolicyResultError, parseDenial, parseMutation } from './policy-result.ts'

/** `value` undefined: the rule is undefined. */
export function toRegoOutcome(
  value: unknown,
  policy: Pick<Policy, 'action' | 'onError'>,
): RegoOutcome {
  if (value === undefined) return { kind: 'undefined' }
  if (typeof value === 'boolean') return { kind: 'result', allowed: value }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return toErrorOutcome('ERR_POLICY_RESULT', 'result is neither a boolean nor an object')
  const object = value as Record<string, unknown>
  if (!Object.hasOwn(object, 'allowed') || typeof object.allowed !== 'boolean')
    return toErrorOutcome('ERR_POLICY_RESULT', 'result has no boolean allowed')
  return checkDecoration(object, object.allowed, policy)
}

export function toErrorOutcome(code: MeshErrorCode, message: string): RegoOutcome {
  return { kind: 'error', code, message }
}

function checkDecoration(
  object: Readonly<Record<string, unknown>>,
  allowed: boolean,
  policy: Pick<Policy, 'action' | 'onError'>,
): RegoOutcome {
  const refuses = policy.action === 'ALLOW' ? !allowed : allowed
  try {
    if (refuses) parseDenial(object)
    else if (policy.action === 'ALLOW') parseMutation(object)
    return { kind: 'result', allowed, object }
  } catch (error) {
    if (!(error instanceof PolicyResultError)) throw error
    // With `onError: Allow` an error would let pass what the policy has just refused.
    if (refuses && policy.onError === 'Allow') return { kind: 'result', allowed }
    return toErrorOutcome('ERR_POLICY_RESULT', error.message)
  }
}
