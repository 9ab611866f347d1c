/**
 * What each workload was given, newest first: what its proxy may still enforce is kept until the proxy has the newest.
 * In: publications, and what proxies say that they enforce. Out: who was given what since when, for `proxy status` and
 * `explain`. Bounded: the last few of each workload, and those that its connected proxy names.
 */
import type { XdsSnapshot } from '../../common/xds.ts'
import type { MeshSettings, Workload } from '../core/model/mesh.ts'
import { nodeId } from '../core/model/mesh.ts'
import type { PolicyBundle } from './ports.ts'
import type { Publication } from './publication.ts'

/** One version of what one proxy is given. */
export interface Given {
  readonly workload: Workload
  readonly mesh: MeshSettings
  readonly snapshot: XdsSnapshot
  readonly bundle: PolicyBundle
  /** Epoch milliseconds. */
  readonly sinceMs: number
}

/** What a proxy says that it enforces; empty: nothing. */
export interface Enforcing {
  readonly nodeId: string
  readonly enforcedGeneration: string
  readonly bundleRevision: string
}

/** A proxy that is slower than this many edits is shown the newest instead. */
const KEPT = 4

export class History {
  #byNode: ReadonlyMap<string, readonly Given[]> = new Map()
  /** What each proxy said last; one whose status stream is away goes on with that. */
  #said: ReadonlyMap<string, Enforcing> = new Map()

  note(publication: Publication, enforcing: readonly Enforcing[], nowMs: number): void {
    const { model, snapshots, bundles } = publication
    const proxies = new Map([
      ...this.#said,
      ...enforcing.filter((p) => p.enforcedGeneration !== '').map((p) => [p.nodeId, p] as const),
    ])
    const next = new Map<string, readonly Given[]>()
    for (const workload of model.workloads.values()) {
      const id = nodeId(workload)
      const [snapshot, bundle] = [snapshots.get(id), bundles.get(id)]
      if (snapshot === undefined || bundle === undefined) continue
      const before = this.#byNode.get(id) ?? []
      const given: Given = { workload, mesh: model.mesh, snapshot, bundle, sinceMs: nowMs }
      next.set(id, isSame(before[0], given) ? before : prune([given, ...before], proxies.get(id)))
    }
    this.#byNode = next
    this.#said = new Map([...proxies].filter(([id]) => next.has(id)))
  }

  /** Node ids of all workloads that are given something. */
  nodes(): Iterable<string> {
    return this.#byNode.keys()
  }

  newest(nodeId: string): Given | undefined {
    return this.#byNode.get(nodeId)?.[0]
  }

  /** The newest with this xDS generation; undefined: it is not kept any more. */
  withGeneration(nodeId: string, generation: string): Given | undefined {
    return this.#byNode.get(nodeId)?.find((g) => g.snapshot.version === generation)
  }

  /** The newest with this bundle revision; undefined: it is not kept any more. */
  withRevision(nodeId: string, revision: string): Given | undefined {
    return this.#byNode.get(nodeId)?.find((g) => g.bundle.revision === revision)
  }

  /** The proxy of `namespace/name`. */
  nodeOf(workload: string): string | undefined {
    return [...this.#byNode.keys()].find((id) => id.startsWith(`${workload}/`))
  }
}

function isSame(before: Given | undefined, { snapshot, bundle }: Given): boolean {
  return before?.snapshot.version === snapshot.version && before.bundle.revision === bundle.revision
}

/**
 * The newest comes first. An older one stays while its proxy is at it, or may be between it and the newest; nothing is
 * older than what both its Envoy and its sidecar have.
 */
function prune(all: readonly Given[], proxy: Enforcing | undefined): readonly Given[] {
  const isInForce = (g: Given) =>
    g.snapshot.version === proxy?.enforcedGeneration || g.bundle.revision === proxy?.bundleRevision
  const last = all.findLastIndex(
    (g) =>
      g.snapshot.version === proxy?.enforcedGeneration &&
      g.bundle.revision === proxy.bundleRevision,
  )
  const candidates = last < 0 ? all : all.slice(0, last + 1)
  return candidates.filter((g, i) => i < KEPT || isInForce(g))
}
