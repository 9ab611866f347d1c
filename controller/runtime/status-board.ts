/**
 * The objects with their status, kept current: after each pass, and soon after a proxy said something new.
 * In: the reconciler's view, the proxies, the revoked credentials. Out: objects in Kubernetes' shape, and problems.
 */
import type { Clock } from '../../common/clock.ts'
import type { Problem } from '../../common/errors.ts'
import type { ObjectKey } from '../core/accept/objects.ts'
import type { PosternObject } from '../core/crd/index.ts'
import type { ConditionTime, ConditionTimes } from '../core/status/conditions.ts'
import { buildStatuses, nackProblems, type Served } from '../core/status/status.ts'
import type { ConditionStore, Log, ProxyRegistry, ProxyState } from './ports.ts'
import type { View } from './reconcile.ts'

export interface StatusBoardOptions {
  readonly view: () => View | undefined
  readonly proxies: ProxyRegistry
  /** Why a workload's credential was revoked, by workload UID. */
  readonly revoked: () => ReadonlyMap<string, string>
  readonly conditions: ConditionStore
  readonly clock: Clock
  readonly log: Log
}

/** Many proxies report at once after a publication; one look serves all of them. */
const COALESCE_MS = 50
/** Times are written no more often than this. */
const SAVE_AFTER_MS = 1000

export class StatusBoard {
  readonly #options: StatusBoardOptions
  #objects: ReadonlyMap<ObjectKey, PosternObject> = new Map()
  #timer: NodeJS.Timeout | undefined
  #times: ConditionTimes = new Map()
  #saved = ''
  #saveTimer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor(options: StatusBoardOptions) {
    this.#options = options
  }

  /** Takes over the times of an earlier process. */
  async start(): Promise<void> {
    this.#times = await this.#options.conditions.load()
    this.#saved = textOf(this.#times)
  }

  /** Something that status is made of may have changed. */
  touch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.refresh()
    }, COALESCE_MS)
  }

  refresh(): void {
    const view = this.#options.view()
    if (view === undefined) return
    const now = toRfc3339(this.#options.clock.now())
    this.#objects = buildStatuses({
      proposals: view.proposals.proposals,
      seen: view.proposals.seen,
      problems: view.problems,
      pending: view.settlement.pending,
      inForce: view.inForce,
      served: servedBy(view),
      proxies: this.#options.proxies.list(),
      revoked: this.#options.revoked(),
      before: this.#times,
      now,
    })
    // Nothing was judged yet: what was refused before would seem accepted for a moment.
    if (view.isRestored) return
    this.#times = new Map([...this.#objects].map(([key, object]) => [key, timesOf(object)]))
    this.#saveTimer ??= setTimeout(() => this.#save(), SAVE_AFTER_MS)
  }

  /** As of now; sorted by key. */
  objects(): ReadonlyMap<ObjectKey, PosternObject> {
    this.refresh()
    return this.#objects
  }

  problems(): readonly Problem[] {
    const view = this.#options.view()
    if (view === undefined) return []
    const { inForce } = view
    const proxies = this.#options.proxies.list()
    return [...view.problems, ...nackProblems({ served: servedBy(view), proxies, inForce })]
  }

  proxies(): readonly ProxyState[] {
    return this.#options.proxies.list()
  }

  /** What is served now, by content hashes; `generation` is null before the first publication. */
  published(): object {
    const view = this.#options.view()
    const targets = view === undefined ? undefined : servedBy(view)?.targets
    const workloads = [...(targets ?? [])]
    return {
      generation: view?.publication?.generation ?? null,
      publishedAt: view?.publishedAtMs === undefined ? null : toRfc3339(view.publishedAtMs),
      workloads: workloads.map(([nodeId, target]) => ({ nodeId, ...target })),
    }
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#save()
    await this.#saving
  }

  #save(): void {
    clearTimeout(this.#saveTimer)
    this.#saveTimer = undefined
    const text = textOf(this.#times)
    if (text === this.#saved) return
    this.#saved = text
    const { conditions, log } = this.#options
    const times = this.#times
    this.#saving = this.#saving
      .then(() => conditions.save(times))
      .catch((err: unknown) => {
        this.#saved = ''
        log.warn({ err, code: 'ERR_STATE_WRITE' }, 'times of conditions are not stored')
      })
  }
}

function textOf(times: ConditionTimes): string {
  return JSON.stringify([...times])
}

function toRfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}

function servedBy({ publication }: View): Served | undefined {
  if (publication === undefined) return undefined
  const targets = [...publication.snapshots].map(([id, { version, requires = [] }]) => {
    const revision = publication.bundles.get(id)?.revision ?? ''
    return [id, { generation: version, revision, requires }] as const
  })
  return { model: publication.model, targets: new Map(targets) }
}

function timesOf(object: PosternObject): readonly ConditionTime[] {
  return (object.status?.conditions ?? []).map(({ type, status, lastTransitionTime }) => ({
    type,
    status,
    lastTransitionTime,
  }))
}
