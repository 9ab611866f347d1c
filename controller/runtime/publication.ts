/**
 * From a model to what is served: one XdsSnapshot and one PolicyBundle for each workload, complete or not at all.
 * Equal models make equal publications; what did not change is the same value.
 */
import { sha256Hex } from '../../common/bundle.ts'
import { remember, rememberAsked } from '../../common/remember.ts'
import type { XdsSnapshot } from '../../common/xds.ts'
import { buildBundle } from '../core/bundle/bundle.ts'
import { type MeshSettings, type Model, nodeId, type Workload } from '../core/model/mesh.ts'
import { buildSnapshot } from '../core/xds/snapshot.ts'
import type { PolicyBundle } from './ports.ts'

export interface Publication {
  readonly model: Model
  /** By xDS node id. */
  readonly snapshots: ReadonlyMap<string, XdsSnapshot>
  /** By xDS node id. */
  readonly bundles: ReadonlyMap<string, PolicyBundle>
  /** Content hash over all versions and revisions: what logs and `/readyz` call the generation. */
  readonly generation: string
}

/** What a workload is served is made again only when the workload, as a value, is another (core/translate). */
const snapshotOf = remember(
  (workload: Workload, mesh: MeshSettings, trustBundle: readonly Uint8Array[]) =>
    buildSnapshot(workload, mesh, { trustBundle }),
)
const bundleOf = rememberAsked(
  (workload: Workload, module: (digest: string) => Uint8Array | undefined) =>
    buildBundle(workload, module),
)

export function buildPublication(
  model: Model,
  parts: {
    readonly trustBundle: readonly Uint8Array[]
    readonly wasm: ReadonlyMap<string, Uint8Array>
  },
): Publication {
  const snapshots = new Map<string, XdsSnapshot>()
  const bundles = new Map<string, PolicyBundle>()
  const module = (digest: string) => parts.wasm.get(digest)
  for (const workload of model.workloads.values()) {
    const id = nodeId(workload)
    snapshots.set(id, snapshotOf(workload, model.mesh, parts.trustBundle))
    bundles.set(id, bundleOf(workload, module))
  }
  return { model, snapshots, bundles, generation: generationOf(snapshots, bundles) }
}

function generationOf(
  snapshots: ReadonlyMap<string, XdsSnapshot>,
  bundles: ReadonlyMap<string, PolicyBundle>,
): string {
  const lines = [...snapshots]
    .map(([id, { version }]) => `${id} ${version} ${bundles.get(id)?.revision ?? ''}`)
    .sort()
  return sha256Hex(lines.join('\n')).slice(0, 16)
}
