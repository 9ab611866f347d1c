/**
 * One request as the Rego policies of its set are asked about it: the input is built when the first policy needs it,
 * and once. A request that can't be read is an error outcome for each policy; so is a policy that fails, and one that
 * is set aside; only what fails by itself profits from `onError: Allow`.
 */
import { type AuthzDecision, decide, type RegoOutcome } from '../../../common/authz/combine.ts'
import type { RequestAttributes } from '../../../common/authz/request.ts'
import { MeshError } from '../../../common/errors.ts'
import { type Policy, type PolicySet, policyId } from '../../../common/policy-set.ts'
import type { CheckRequest } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toErrorOutcome, toRegoOutcome } from '../decision/rego-outcome.ts'
import { type RegoInput, toRegoInput } from '../input/input.ts'
import { withoutFailingOpen } from './active-set.ts'

/** The compiled policies of a set. */
export interface RegoPrograms {
  /**
   * The entrypoint's value for an input (JSON text); undefined when the rule is undefined.
   * Throws when the policy fails; a MeshError with ERR_POLICY_TIMEOUT when it isn't asked since it took too long before.
   */
  evaluate(policy: Policy, inputJson: string): unknown
}

export class RegoCall {
  readonly #request: CheckRequest
  readonly #programs: RegoPrograms
  #input: { readonly value: RegoInput; readonly json: string } | undefined
  #inputError: MeshError | undefined
  readonly #outcomes = new Map<string, RegoOutcome>()
  /** Policies that were not asked, since this caller's requests took too long before. */
  readonly #aside = new Set<string>()

  constructor(request: CheckRequest, programs: RegoPrograms) {
    this.#request = request
    this.#programs = programs
  }

  /** The input that policies saw; undefined when none was asked or the request can't be read. */
  get input(): RegoInput | undefined {
    return this.#input?.value
  }

  /**
   * The decision of the set. What a client brings about doesn't profit from `onError: Allow` (DESIGN §1.1): neither a
   * request that can't be read, nor a policy that is set aside since requests made it take too long.
   */
  decide(set: PolicySet, request: RequestAttributes): AuthzDecision {
    const decision = decide(set, request, (policy) => this.#outcomeOf(policy))
    const isClients = (id: string) => this.#inputError !== undefined || this.#aside.has(id)
    if (!decision.failedOpen.some(isClients)) return decision
    return decide(withoutFailingOpen(set, isClients), request, (policy) => this.#outcomeOf(policy))
  }

  #outcomeOf(policy: Policy): RegoOutcome {
    const id = policyId(policy)
    const known = this.#outcomes.get(id)
    if (known !== undefined) return known
    const outcome = this.#evaluate(policy)
    this.#outcomes.set(id, outcome)
    return outcome
  }

  #evaluate(policy: Policy): RegoOutcome {
    const json = this.#inputJson()
    if (json === undefined)
      return toErrorOutcome('ERR_INPUT_INVALID', this.#inputError?.message ?? 'cannot be read')
    try {
      return toRegoOutcome(this.#programs.evaluate(policy, json), policy)
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'ERR_POLICY_ERROR'
      if (code === 'ERR_POLICY_TIMEOUT') this.#aside.add(policyId(policy))
      return toErrorOutcome(code, error instanceof Error ? error.message : String(error))
    }
  }

  #inputJson(): string | undefined {
    if (this.#input !== undefined || this.#inputError !== undefined) return this.#input?.json
    try {
      const value = toRegoInput(this.#request)
      this.#input = { value, json: JSON.stringify(value) }
    } catch (cause) {
      this.#inputError =
        cause instanceof MeshError
          ? cause
          : new MeshError('ERR_INPUT_INVALID', 'request cannot be read', { cause })
    }
    return this.#input?.json
  }
}
