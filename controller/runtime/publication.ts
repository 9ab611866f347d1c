/**
 * From a model to what is served: one XdsSnapshot and one PolicyBundle for each workload, complete or not at all.
 * Bundles are packed once for each content; equal models make equal publications.
 */
import { sha256Hex } from '../../common/bundle.ts'
import type { XdsSnapshot } from '../../common/xds.ts'
import { buildBundle, bundleKey } from '../core/bundle/bundle.ts'
import { type Model, nodeId, type Workload } from '../core/model/mesh.ts'
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

interface Packed {
  readonly key: string
  readonly bundle: PolicyBundle
}

export class Publications {
  /** By workload UID; only those of the last publication. */
  #packed: ReadonlyMap<string, Packed> = new Map()

  async build(
    model: Model,
    parts: {
      readonly trustBundle: readonly Uint8Array[]
      readonly wasm: ReadonlyMap<string, Uint8Array>
    },
  ): Promise<Publication> {
    const snapshots = new Map<string, XdsSnapshot>()
    const bundles = new Map<string, PolicyBundle>()
    const packed = new Map<string, Packed>()
    for (const workload of model.workloads.values()) {
      const id = nodeId(workload)
      snapshots.set(id, buildSnapshot(workload, model.mesh, { trustBundle: parts.trustBundle }))
      const entry = await this.#pack(workload, parts.wasm)
      packed.set(workload.uid, entry)
      bundles.set(id, entry.bundle)
    }
    this.#packed = packed
    return { model, snapshots, bundles, generation: generationOf(snapshots, bundles) }
  }

  async #pack(workload: Workload, wasm: ReadonlyMap<string, Uint8Array>): Promise<Packed> {
    const key = bundleKey(workload)
    const known = this.#packed.get(workload.uid)
    return known?.key === key ? known : { key, bundle: await buildBundle(workload, wasm) }
  }
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
