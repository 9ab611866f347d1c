/**
 * Answers the controller's questions: what Envoy has, which policy set is active, which decision had this id.
 * In: a question of the ProxyStatus stream. Out: JSON in parts, or why there is none. One at a time; reads only.
 * What leaves is cleaned of keys, secrets and policies' data first (core/envoy/config-dump.ts).
 */
import { MeshError, type MeshErrorCode } from '../../common/errors.ts'
import type { PolicySet } from '../../common/policy-set.ts'
import { assertClean, readDump, SECTIONS, type Section } from '../core/envoy/config-dump.ts'

export interface QueryPorts {
  /** The text of Envoy's config_dump; undefined: Envoy doesn't answer, or with more than this. */
  readonly configDump: (maxBytes: number) => Promise<string | undefined>
  readonly activeSet: () => PolicySet | undefined
  readonly activeRevision: () => string | undefined
  readonly findDecision: (id: string) => Promise<{ readonly record?: unknown; limit?: string }>
  /** The per-start secret that Envoy's bootstrap holds. */
  readonly secret: () => string
}

export type Question =
  | { readonly case: 'config'; readonly value: { readonly section: string } }
  | { readonly case: 'decision'; readonly value: { readonly decisionId: string } }
  | { readonly case: undefined; readonly value?: undefined }

export interface AnswerPart {
  readonly part?: Uint8Array
  readonly isLast?: boolean
  readonly errorCode?: string
  readonly error?: string
}

const PART_BYTES = 256 * 1024
/** Envoy's dump has all sections; what is sent of it is less. */
const MAX_DUMP_BYTES = 64 * 1024 * 1024
const DECISION_ID = /^[0-9A-Za-z-]{8,64}$/
const MASKED = '[masked]'

export class Queries {
  readonly #ports: QueryPorts
  #isBusy = false

  constructor(ports: QueryPorts) {
    this.#ports = ports
  }

  /** Never rejects. */
  async answer(question: Question, maxBytes: number): Promise<readonly AnswerPart[]> {
    if (this.#isBusy)
      return [toError('ERR_PROXY_UNAVAILABLE', 'another question is being answered')]
    this.#isBusy = true
    try {
      const text = JSON.stringify(await this.#ask(question))
      return toParts(Buffer.from(assertClean(text, this.#ports.secret())), maxBytes)
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'ERR_INTERNAL'
      return [toError(code, error instanceof Error ? error.message : String(error))]
    } finally {
      this.#isBusy = false
    }
  }

  #ask(question: Question): Promise<unknown> {
    switch (question.case) {
      case 'config':
        return this.#config(question.value.section)
      case 'decision':
        return this.#decision(question.value.decisionId)
      default:
        throw new MeshError('ERR_CONFIG', 'this sidecar does not know the question; upgrade it')
    }
  }

  async #config(section: string): Promise<unknown> {
    const wanted = SECTIONS.filter((s) => section === s || section === 'all')
    const hasPolicies = section === 'policies' || section === 'all'
    if (wanted.length === 0 && !hasPolicies) {
      throw new MeshError('ERR_CONFIG', `there is no section ${JSON.stringify(section)}`)
    }
    const text = await this.#ports.configDump(MAX_DUMP_BYTES)
    if (text === undefined) {
      const message = 'Envoy does not answer, or its config_dump is too large'
      throw new MeshError('ERR_PROXY_UNAVAILABLE', message, { retry: 'backoff' })
    }
    const dump = readDump(text, this.#ports.secret())
    const sections = wanted.map((s: Section) => [s, dump.sections[s] ?? []] as const)
    return {
      ...Object.fromEntries(sections),
      ...(hasPolicies ? { policies: { ...this.#policies(), rbac: dump.rbac } } : {}),
      ...(section === 'all' ? { bootstrap: dump.bootstrap } : {}),
    }
  }

  #policies(): { readonly revision: string; readonly set: unknown } {
    const set = this.#ports.activeSet()
    return {
      revision: this.#ports.activeRevision() ?? '',
      set: set === undefined ? null : withoutData(set),
    }
  }

  async #decision(id: string): Promise<unknown> {
    if (!DECISION_ID.test(id)) throw new MeshError('ERR_CONFIG', 'that is no decision id')
    const { record, limit } = await this.#ports.findDecision(id)
    return { record: record ?? null, ...(limit === undefined ? {} : { limit }) }
  }
}

/** A policy's data may be secret (DESIGN §4): whoever may see which policies there are need not see it. */
function withoutData(set: PolicySet): unknown {
  const policies = set.policies.map((policy) =>
    policy.rego === undefined ? policy : { ...policy, rego: { ...policy.rego, data: MASKED } },
  )
  return { ...set, policies }
}

function toParts(bytes: Uint8Array, maxBytes: number): readonly AnswerPart[] {
  if (bytes.length > maxBytes) {
    const message = `the answer has ${bytes.length} bytes, more than ${maxBytes}; ask for one section`
    return [toError('ERR_ANSWER_TOO_LARGE', message)]
  }
  const parts: AnswerPart[] = []
  for (let at = 0; at < bytes.length; at += PART_BYTES) {
    const isLast = at + PART_BYTES >= bytes.length
    parts.push({ part: bytes.subarray(at, at + PART_BYTES), isLast })
  }
  return parts
}

function toError(errorCode: MeshErrorCode, error: string): AnswerPart {
  return { errorCode, error, isLast: true }
}
