/**
 * The objects with their status, kept current: after each pass, and soon after a proxy said something new.
 * In: the reconciler's view, the proxies, the revoked credentials. Out: objects in Kubernetes' shape, and problems.
 */
import type { Clock } from '../../common/clock.ts'
import type { Problem } from '../../common/errors.ts'
import type { ObjectKey } from '../core/accept/objects.ts'
import type { Condition, PosternObject } from '../core/crd/index.ts'
import { buildStatuses, type Served } from '../core/status/status.ts'
import type { ProxyRegistry, ProxyState } from './ports.ts'
import type { View } from './reconcile.ts'

export interface StatusBoardOptions {
  readonly view: () => View | undefined
  readonly proxies: ProxyRegistry
  /** Why a workload's credential was revoked, by workload UID. */
  readonly revoked: () => ReadonlyMap<string, string>
  readonly clock: Clock
}

/** Many proxies report at once after a publication; one look serves all of them. */
const COALESCE_MS = 50

export class StatusBoard {
  readonly #options: StatusBoardOptions
  #objects: ReadonlyMap<ObjectKey, PosternObject> = new Map()
  #timer: NodeJS.Timeout | undefined

  constructor(options: StatusBoardOptions) {
    this.#options = options
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
      before: new Map([...this.#objects].map(([key, object]) => [key, conditionsOf(object)])),
      now,
    })
  }

  /** As of now; sorted by key. */
  objects(): ReadonlyMap<ObjectKey, PosternObject> {
    this.refresh()
    return this.#objects
  }

  problems(): readonly Problem[] {
    return this.#options.view()?.problems ?? []
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

  stop(): void {
    clearTimeout(this.#timer)
  }
}

function toRfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}

function servedBy({ publication }: View): Served | undefined {
  if (publication === undefined) return undefined
  const targets = [...publication.snapshots].map(([id, { version }]) => {
    const revision = publication.bundles.get(id)?.revision ?? ''
    return [id, { generation: version, revision }] as const
  })
  return { model: publication.model, targets: new Map(targets) }
}

function conditionsOf(object: PosternObject): readonly Condition[] {
  return object.status?.conditions ?? []
}
