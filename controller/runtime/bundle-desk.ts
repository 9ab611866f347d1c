/**
 * Who gets which policy bundle, and who waits for news of his own; what HTTP and gRPC answer comes from here.
 * In: bundles by `publish`, questions of verified peers. Out: one reply to each question, now or when something changed.
 * A peer learns nothing of other workloads: whatever is not its own is forbidden, there or not.
 */
import { missingFeatures } from '../../common/features.ts'
import type { PolicyBundle } from './ports.ts'

export interface BundlePeer {
  readonly spiffeId: string
  readonly workloadUid: string
}

export interface BundleQuestion {
  readonly peer: BundlePeer
  /** `namespace/name`. */
  readonly workload: string
  /** Whether the peer has some bundle; who has none is never kept waiting. */
  readonly hasSome: boolean
  /** Whether the bundle of this revision is what the peer has. */
  readonly has: (revision: string) => boolean
  /** Tokens that the sidecar named. */
  readonly features: readonly string[]
  readonly waitSeconds: number
}

export type BundleReply =
  | { readonly kind: 'notReady' }
  | { readonly kind: 'forbidden' }
  /** What the peer lacks for it: then what it has stays, and without any it goes on denying. */
  | { readonly kind: 'withheld'; readonly lacks: readonly string[] }
  | { readonly kind: 'unchanged'; readonly revision: string }
  | { readonly kind: 'bundle'; readonly bundle: PolicyBundle }

/** How an answer is counted. */
export type BundleResult = 'sent' | 'unchanged' | 'withheld' | 'refused' | 'unavailable'

export interface BundleDeskOptions {
  /** SPIFFE id of the workload with this UID in the current model. */
  readonly workloadOf: (uid: string) => { readonly spiffeId: string } | undefined
}

/** A proxy in between would cut longer waits; OPA's own servers allow minutes. */
export const MAX_WAIT_SECONDS = 300
/** Waits of one workload at a time; one more ends the oldest. */
const MAX_WAITS = 4
const ANSWERS_A_TURN = 4

interface Wait {
  readonly question: BundleQuestion
  readonly revision: string
  /** Replies and forgets. */
  readonly end: () => void
}

export class BundleDesk {
  readonly #options: BundleDeskOptions
  /** By workload UID, in the order of arrival. */
  readonly #waits = new Map<string, Set<Wait>>()
  /** Those who wait for what has come. */
  readonly #due = new Set<Wait>()
  #answering: NodeJS.Immediate | undefined
  #byUid: ReadonlyMap<string, PolicyBundle> | undefined

  constructor(options: BundleDeskOptions) {
    this.#options = options
  }

  /** Replaces all bundles at once and answers those who wait for a change, a few at a time. */
  publish(bundles: Iterable<PolicyBundle>): void {
    this.#byUid = new Map([...bundles].map((b) => [b.workloadUid, b]))
    for (const wait of this.#allWaits()) if (this.#hasChanged(wait)) this.#due.add(wait)
    this.#answering ??= setImmediate(() => this.#answerSome())
  }

  /** Calls `reply` once, unless what it returns (the peer is gone) is called before. */
  ask(question: BundleQuestion, reply: (reply: BundleReply) => void): () => void {
    const now = this.#reply(question)
    const mayWait = question.hasSome && now.kind !== 'bundle'
    const bundle = this.#entitled(question)
    if (mayWait && bundle !== undefined && question.waitSeconds > 0)
      return this.#wait(question, bundle.revision, reply)
    reply(now)
    return () => {}
  }

  /** Answers everybody who waits. */
  stop(): void {
    clearImmediate(this.#answering)
    for (const wait of this.#allWaits()) wait.end()
  }

  #wait(
    question: BundleQuestion,
    revision: string,
    reply: (reply: BundleReply) => void,
  ): () => void {
    const uid = question.peer.workloadUid
    const [oldest] = this.#waits.get(uid) ?? []
    if ((this.#waits.get(uid)?.size ?? 0) >= MAX_WAITS) oldest?.end()
    const own = this.#waits.get(uid) ?? new Set()
    const forget = () => {
      clearTimeout(timer)
      own.delete(wait)
      this.#due.delete(wait)
      if (own.size === 0 && this.#waits.get(uid) === own) this.#waits.delete(uid)
    }
    const end = () => {
      forget()
      reply(this.#reply(question))
    }
    const wait: Wait = { question, revision, end }
    const timer = setTimeout(end, Math.min(question.waitSeconds, MAX_WAIT_SECONDS) * 1000)
    this.#waits.set(uid, own.add(wait))
    return forget
  }

  /** A thousand archives are a second's work: what else the process does (ACKs, certificates) shall not wait for it. */
  #answerSome(): void {
    let left = ANSWERS_A_TURN
    for (const wait of this.#due) {
      if (left === 0) break
      left -= 1
      this.#due.delete(wait)
      if (this.#hasChanged(wait)) wait.end()
    }
    this.#answering = this.#due.size > 0 ? setImmediate(() => this.#answerSome()) : undefined
  }

  #hasChanged({ question, revision }: Wait): boolean {
    return this.#entitled(question)?.revision !== revision
  }

  #allWaits(): readonly Wait[] {
    return [...this.#waits.values()].flatMap((waits) => [...waits])
  }

  #reply(question: BundleQuestion): BundleReply {
    if (this.#byUid === undefined) return { kind: 'notReady' }
    const bundle = this.#entitled(question)
    if (bundle === undefined) return { kind: 'forbidden' }
    const lacks = missingFeatures(bundle.requires, question.features)
    if (lacks.length > 0) return { kind: 'withheld', lacks }
    if (question.has(bundle.revision)) return { kind: 'unchanged', revision: bundle.revision }
    return { kind: 'bundle', bundle }
  }

  /** The bundle that is asked for, if it is the peer's own. */
  #entitled({ peer, workload }: BundleQuestion): PolicyBundle | undefined {
    if (this.#options.workloadOf(peer.workloadUid)?.spiffeId !== peer.spiffeId) return undefined
    const bundle = this.#byUid?.get(peer.workloadUid)
    return bundle?.workload === workload ? bundle : undefined
  }
}
