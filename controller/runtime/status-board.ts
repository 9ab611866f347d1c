/**
 * The objects with their status, kept current: after each pass, and soon after a proxy said something new.
 * In: the reconciler's view, the proxies, the revoked credentials. Out: objects in Kubernetes' shape, and problems.
 */
import type { Clock } from '../../common/clock.ts'
import type { Problem } from '../../common/errors.ts'
import { remember, shareEqual } from '../../common/remember.ts'
import type { XdsSnapshot } from '../../common/xds.ts'
import type { ObjectKey } from '../core/accept/objects.ts'
import type { PosternObject } from '../core/crd/index.ts'
import type { ConditionTime, ConditionTimes } from '../core/status/conditions.ts'
import { buildStatuses, nackProblems, type Served, type Target } from '../core/status/status.ts'
import type { ConditionStore, Log, ProxyRegistry, ProxyState } from './ports.ts'
import type { Publication } from './publication.ts'
import type { View } from './reconcile.ts'

export interface StatusBoardOptions {
  readonly view: () => View | undefined
  /** Of all replicas. */
  readonly proxies: Pick<ProxyRegistry, 'list'>
  /** Why a workload's credential was revoked, by workload UID. */
  readonly revoked: () => ReadonlyMap<string, string>
  /** What is wrong beside the manifests, and with which object. */
  readonly troubles?: () => readonly Problem[]
  readonly conditions: ConditionStore
  readonly clock: Clock
  readonly log: Log
}

/** Many proxies report at once after a publication; one look serves all of them. */
const COALESCE_MS = 50
/** Looking takes at most one part in so many of the time, however large the mesh is. */
const LOOK_SHARE = 10
/** Times are written no more often than this. */
const SAVE_AFTER_MS = 1000

export class StatusBoard {
  readonly #options: StatusBoardOptions
  #objects: ReadonlyMap<ObjectKey, PosternObject> = new Map()
  readonly #listeners = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined
  #times: ConditionTimes = new Map()
  #saved: ConditionTimes = new Map()
  #lookMs = 0
  #saveTimer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor(options: StatusBoardOptions) {
    this.#options = options
  }

  /** Takes over the times of an earlier process. */
  async start(): Promise<void> {
    this.#times = await this.#options.conditions.load()
    this.#saved = this.#times
  }

  /** Something that status is made of may have changed. */
  touch(): void {
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined
        this.refresh()
      },
      Math.max(COALESCE_MS, this.#lookMs * LOOK_SHARE),
    )
  }

  refresh(isAsked = false): void {
    const view = this.#options.view()
    if (view === undefined) return
    const startMs = this.#options.clock.monotonic()
    const now = toRfc3339(this.#options.clock.now())
    this.#objects = buildStatuses({
      proposals: view.proposals.proposals,
      seen: view.proposals.seen,
      problems: [...view.problems, ...this.#troubles()],
      pending: view.settlement.pending,
      held: view.settlement.held,
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
    this.#lookMs = this.#options.clock.monotonic() - startMs
    if (!isAsked) for (const listener of this.#listeners) listener()
  }

  /** After each look that nobody asked for. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  /** As of now; sorted by key. */
  objects(): ReadonlyMap<ObjectKey, PosternObject> {
    this.refresh(true)
    return this.#objects
  }

  problems(): readonly Problem[] {
    const view = this.#options.view()
    if (view === undefined) return []
    const { inForce } = view
    const proxies = this.#options.proxies.list()
    return [
      ...view.problems,
      ...this.#troubles(),
      ...nackProblems({ served: servedBy(view), proxies, inForce }),
    ]
  }

  #troubles(): readonly Problem[] {
    return this.#options.troubles?.() ?? []
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
    const times = this.#times
    if (isSame(times, this.#saved)) return
    this.#saved = times
    const { conditions, log } = this.#options
    this.#saving = this.#saving
      .then(() => conditions.save(times))
      .catch((err: unknown) => {
        this.#saved = new Map()
        log.warn({ err, code: 'ERR_STATE_WRITE' }, 'times of conditions are not stored')
      })
  }
}

function isSame(a: ConditionTimes, b: ConditionTimes): boolean {
  return (
    a.size === b.size &&
    [...a].every(([key, times]) => shareEqual(b.get(key), times) === b.get(key))
  )
}

function toRfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}

function servedBy({ publication }: View): Served | undefined {
  return publication === undefined ? undefined : toServed(publication)
}

const toServed = remember(({ model, snapshots, bundles }: Publication): Served => {
  const targets = [...snapshots].map(
    ([id, snapshot]) => [id, toTarget(snapshot, bundles.get(id)?.revision ?? '')] as const,
  )
  return { model, targets: new Map(targets) }
})

const toTarget = remember(
  ({ version, requires = [] }: XdsSnapshot, revision: string): Target => ({
    generation: version,
    revision,
    requires,
  }),
)

const timesOf = remember((object: PosternObject): readonly ConditionTime[] =>
  (object.status?.conditions ?? []).map(({ type, status, lastTransitionTime }) => ({
    type,
    status,
    lastTransitionTime,
  })),
)
