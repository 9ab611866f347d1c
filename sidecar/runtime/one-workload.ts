/**
 * The identity as the parts that serve one workload see it: SVIDs of that workload, and nothing once it is another's.
 * After a new join (its WorkloadEntry was deleted and made again) an SVID may name another uid; Envoy must neither get
 * it with the old workload's configuration nor go on with that. In: the identity. Out: the same, and `moved`.
 */
import type { IdentitySource, Svid } from '../ports.ts'
import type { WorkloadIdentitySource } from './identity.ts'

/** The identity as each round is given it. */
export type SharedIdentity = Pick<
  WorkloadIdentitySource,
  'current' | 'subscribe' | 'updateTrustBundle'
>

export class OneWorkload implements IdentitySource {
  /** Resolves with the first SVID of another workload. */
  readonly moved: Promise<Svid>
  readonly #identity: SharedIdentity
  readonly #workload: Svid['workload']
  readonly #leave: () => void

  constructor(identity: SharedIdentity, workload: Svid['workload']) {
    this.#identity = identity
    this.#workload = workload
    const { promise, resolve } = Promise.withResolvers<Svid>()
    this.moved = promise
    this.#leave = identity.subscribe((svid) => {
      if (!this.#isOurs(svid)) resolve(svid)
    })
  }

  current(): Svid | undefined {
    const svid = this.#identity.current()
    return svid !== undefined && this.#isOurs(svid) ? svid : undefined
  }

  subscribe(listener: (svid: Svid) => void): () => void {
    return this.#identity.subscribe((svid) => {
      if (this.#isOurs(svid)) listener(svid)
    })
  }

  async updateTrustBundle(roots: readonly Uint8Array[]): Promise<void> {
    await this.#identity.updateTrustBundle(roots)
  }

  close(): void {
    this.#leave()
  }

  #isOurs({ workload }: Svid): boolean {
    const { namespace, name, uid } = this.#workload
    return workload.namespace === namespace && workload.name === name && workload.uid === uid
  }
}
