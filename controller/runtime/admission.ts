/**
 * Answers admission reviews: pods are injected, objects of Postern's own kinds are judged as the next pass would judge them.
 * Whoever reaches the port may ask, so that what costs is bounded: one judgement at a time, Rego is compiled within a time.
 * It only looks: nothing that is asked here comes into force by it.
 */

import type { CompileState } from '../core/accept/settle.ts'
import { reviewInjection } from '../core/admission/inject-review.ts'
import { reviewObject } from '../core/admission/object-review.ts'
import { type AdmissionRequest, ALLOWED, type Verdict } from '../core/admission/review.ts'
import type { InjectionSettings } from '../core/inject/settings.ts'
import type { Unit } from '../core/rego/unit.ts'
import type { ClusterSource, ManifestSource, RegoCompiler } from './ports.ts'

export interface AdmissionOptions {
  readonly settings: InjectionSettings
  readonly manifests: ManifestSource
  readonly cluster?: ClusterSource
  readonly compiler: RegoCompiler
}

const GROUP = 'postern.dev'
/** Below the API server's patience, which is 10 s. */
const COMPILE_TIMEOUT_MS = 5_000
const MAX_WAITING = 32
const BUSY: Verdict = {
  allowed: true,
  warnings: [
    'Postern had no time to look at this object; its status will say what is wrong with it',
  ],
}

type States = Map<string, CompileState>

export class Admission {
  readonly #options: AdmissionOptions
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  inject(request: AdmissionRequest): Verdict {
    return reviewInjection(request, this.#options.settings)
  }

  /** What could not be looked at is let through: the controller itself refuses it in the next pass. */
  async validate(request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
    const { group, operation, subResource, object } = request
    const isOurs = group === GROUP && subResource === '' && object !== undefined
    if (!isOurs || operation === 'DELETE') return ALLOWED
    if (this.#waiting >= MAX_WAITING) return BUSY
    this.#waiting += 1
    const turn = this.#last.then(() => (signal.aborted ? BUSY : this.#judge(request, signal)))
    this.#last = turn.catch(() => undefined)
    try {
      return await turn
    } finally {
      this.#waiting -= 1
    }
  }

  /** Twice when Rego has to be compiled: the first time says which. */
  async #judge(request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
    const { manifests, cluster } = this.#options
    const files = await manifests.read(signal)
    const facts = cluster === undefined ? {} : { cluster: cluster.cluster() }
    const states: States = new Map()
    const wanted = new Map<string, Unit>()
    const isOwn = (unit: Unit) => hasModuleOf(unit, request)
    const judge = () =>
      reviewObject(request, files, {
        ...facts,
        compiled: (unit) => {
          const state = states.get(unit.digest)
          if (state === undefined && isOwn(unit)) wanted.set(unit.digest, unit)
          return state ?? { kind: 'ready', wasmDigest: '', readsBody: false, rules: [] }
        },
      })
    const first = judge()
    if (!first.allowed || wanted.size === 0) return first
    const patience = AbortSignal.any([signal, AbortSignal.timeout(COMPILE_TIMEOUT_MS)])
    const isDone = await this.#compile([...wanted.values()], states, patience)
    return isDone ? judge() : { ...first, warnings: [...first.warnings, ...BUSY.warnings] }
  }

  /** False: not all of it was compiled. */
  async #compile(units: readonly Unit[], states: States, signal: AbortSignal): Promise<boolean> {
    for (const unit of units) {
      try {
        const result = await this.#options.compiler.compile(unit, signal)
        if (result.ok) states.set(unit.digest, { kind: 'ready', ...result })
        else states.set(unit.digest, { kind: 'failed', problems: result.problems })
      } catch {
        return false
      }
    }
    return true
  }
}

/** Whether the object's own Rego is in the unit: that of others was compiled when they came. */
function hasModuleOf(unit: Unit, { object = {} }: AdmissionRequest): boolean {
  const { rego, modules } = (object.spec ?? {}) as {
    rego?: { module?: string }
    modules?: readonly { rego?: string }[]
  }
  const own = [rego?.module, ...(modules ?? []).map((m) => m.rego)]
  return unit.modules.some(({ text }) => own.includes(text))
}
