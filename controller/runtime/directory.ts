/**
 * Who is in the mesh now, for those who must check a peer: by UID, by `namespace/name`. Follows what is published.
 */
import { type Model, nodeId, type Workload, workloadKey } from '../core/model/mesh.ts'
import type { AttestedWorkload, IdentitySettings, WorkloadDirectory } from './identity/ports.ts'

export class Directory implements WorkloadDirectory {
  #model: Model | undefined
  #byUid: ReadonlyMap<string, Workload> = new Map()

  set(model: Model): void {
    this.#model = model
    this.#byUid = new Map([...model.workloads.values()].map((w) => [w.uid, w]))
  }

  settings(): IdentitySettings | undefined {
    if (this.#model === undefined) return undefined
    const { mesh, certificateAuthority } = this.#model
    return {
      trustDomain: mesh.trustDomain,
      svidLifetimeSeconds: mesh.svidLifetimeSeconds,
      maxSvidLifetimeSeconds: certificateAuthority.maxSvidLifetimeSeconds,
    }
  }

  workloadOf(query: { uid: string } | { key: string }): AttestedWorkload | undefined {
    if ('uid' in query) return this.#byUid.get(query.uid)
    return this.#model?.workloads.get(query.key)
  }

  /** For the servers that speak with proxies. */
  peerOf(uid: string): { nodeId: string; spiffeId: string; workload: string } | undefined {
    const workload = this.#byUid.get(uid)
    if (workload === undefined) return undefined
    return {
      nodeId: nodeId(workload),
      spiffeId: workload.spiffeId,
      workload: workloadKey(workload),
    }
  }
}
