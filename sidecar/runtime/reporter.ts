/**
 * Looks at all parts after each change and says what follows: ready or not, what is enforced, and why not the newest.
 * In: the parts' change events. Out: the controller's status stream, and `current()` for health. It decides nothing.
 */
import { type Readiness, readinessOf } from '../core/readiness.ts'
import type { CheckWorker, IdentitySource } from '../ports.ts'
import type { BundleLoop } from './bundle-loop.ts'
import type { EnvoySupervisor } from './envoy-supervisor.ts'
import type { XdsProxy } from './xds-proxy.ts'

export interface ReporterParts {
  readonly identity: Pick<IdentitySource, 'current' | 'subscribe'>
  readonly proxy: Pick<XdsProxy, 'progress' | 'onChange'>
  readonly supervisor: Pick<EnvoySupervisor, 'state' | 'onChange'>
  readonly worker: Pick<CheckWorker, 'activeRevision' | 'isAnswering' | 'onChange'>
  readonly server: { isBound(): boolean; onSocketChange(listener: () => void): () => void }
  readonly bundles: Pick<BundleLoop, 'problem' | 'onChange'>
  readonly logs: { onChange(listener: () => void): () => void }
  readonly notices: () => readonly string[]
  readonly report: (report: {
    readonly envoyVersion: string
    readonly enforcedGeneration: string
    readonly bundleRevision: string
    readonly detail: string
    readonly ready: boolean
    readonly svidNotAfter: bigint
  }) => void
}

export class Reporter {
  readonly #parts: ReporterParts
  readonly #leave: readonly (() => void)[]
  #enforced = ''
  #isQueued = false

  constructor(parts: ReporterParts) {
    this.#parts = parts
    const changed = () => this.#queue()
    this.#leave = [
      parts.identity.subscribe(changed),
      parts.proxy.onChange(changed),
      parts.supervisor.onChange(changed),
      parts.worker.onChange(changed),
      parts.server.onSocketChange(changed),
      parts.bundles.onChange(changed),
      parts.logs.onChange(changed),
    ]
  }

  current(): Readiness {
    const { identity, proxy, supervisor, worker, server } = this.#parts
    const { bundles, notices } = this.#parts
    const readiness = readinessOf({
      hasIdentity: identity.current() !== undefined,
      progress: proxy.progress(),
      envoy: supervisor.state(),
      isSocketBound: server.isBound(),
      isAnswering: worker.isAnswering(),
      bundleRevision: worker.activeRevision(),
      bundleProblem: bundles.problem(),
      notices: notices(),
      enforcedBefore: this.#enforced,
    })
    this.#enforced = readiness.enforcedGeneration
    return readiness
  }

  stop(): void {
    for (const leave of this.#leave) leave()
  }

  /** One report for all that changed in one turn. */
  #queue(): void {
    if (this.#isQueued) return
    this.#isQueued = true
    setImmediate(() => {
      this.#isQueued = false
      const { identity, supervisor, worker, report } = this.#parts
      const { ready, enforcedGeneration, detail } = this.current()
      report({
        envoyVersion: supervisor.state().version,
        enforcedGeneration,
        bundleRevision: worker.activeRevision() ?? '',
        detail,
        ready,
        svidNotAfter: BigInt(Math.floor((identity.current()?.notAfterMs ?? 0) / 1000)),
      })
    })
  }
}
