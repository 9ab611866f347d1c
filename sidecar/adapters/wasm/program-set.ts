/**
 * The Rego of one policy set, ready to evaluate: one instance per policy, so that equal package names never meet.
 * An instance of the set before is taken over when module, entrypoint and data are the same.
 */
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../../common/errors.ts'
import {
  type Policy,
  type PolicySet,
  policyId,
  type RegoPolicy,
} from '../../../common/policy-set.ts'
import type { RegoPrograms } from '../../core/policy/rego-call.ts'
import { WasmPolicy } from './wasm-policy.ts'

export interface ProgramHooks {
  /** Before a policy is evaluated; throws when it must not be. */
  enter(policy: string): void
  /** Epoch nanoseconds. */
  nowNs(): bigint
}

interface Program {
  readonly rego: RegoPolicy
  readonly wasm: WasmPolicy
}

export class ProgramSet implements RegoPrograms {
  readonly #programs = new Map<string, Program>()
  readonly #hooks: ProgramHooks

  private constructor(hooks: ProgramHooks) {
    this.#hooks = hooks
  }

  /**
   * Instantiates policy by policy and lets other work in between, since big data takes its time.
   * Errors: ERR_BUNDLE_INVALID when a module can't be used.
   */
  static async build(options: {
    readonly set: PolicySet
    readonly modules: ReadonlyMap<string, WebAssembly.Module>
    readonly before: ProgramSet | undefined
    readonly hooks: ProgramHooks
  }): Promise<ProgramSet> {
    const before = options.before
    const built = new ProgramSet(options.hooks)
    for (const policy of options.set.policies) {
      if (policy.rego === undefined) continue
      const id = policyId(policy)
      const known = before === undefined ? undefined : before.#programs.get(id)
      const isSame = known !== undefined && isDeepStrictEqual(known.rego, policy.rego)
      built.#programs.set(id, isSame ? known : instantiate(id, policy.rego, options.modules))
      await new Promise((resolve) => setImmediate(resolve))
    }
    return built
  }

  evaluate(policy: Policy, inputJson: string): unknown {
    const id = policyId(policy)
    const program = this.#programs.get(id)
    if (program === undefined) throw new MeshError('ERR_INTERNAL', `policy ${id} has no program`)
    this.#hooks.enter(id)
    return program.wasm.evaluate(inputJson, { nowNs: this.#hooks.nowNs() })
  }
}

function instantiate(
  id: string,
  rego: RegoPolicy,
  modules: ReadonlyMap<string, WebAssembly.Module>,
): Program {
  const module = modules.get(rego.wasmDigest)
  if (module === undefined)
    throw new MeshError('ERR_BUNDLE_INVALID', `policy ${id}: its module is missing`)
  try {
    const { entrypoint, data } = rego
    return { rego, wasm: new WasmPolicy({ module, entrypoint, data }) }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MeshError('ERR_BUNDLE_INVALID', `policy ${id}: ${reason}`, { cause })
  }
}
