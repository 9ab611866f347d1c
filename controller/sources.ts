/**
 * What the composition root needs of where objects come from: what the reconciler reads, and how it comes up and ends.
 * `open-sources.ts` opens a folder of manifests or the Kubernetes API.
 */
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import type { IdentityStore, PodWitness } from './runtime/identity/ports.ts'
import type { ClusterSource, GenerationStore, ManifestSource, ProxyState } from './runtime/ports.ts'
import type { StatusWriter, StatusWriterOptions } from './runtime/status-writer.ts'

export interface Sources {
  readonly manifests: ManifestSource
  readonly cluster?: ClusterSource
  readonly pods?: PodWitness
  /** Where the authority's keys are; absent: in the state directory. */
  readonly keys?: IdentityStore
  /** What other replicas hear of the proxies that are connected to them. Absent: there are none. */
  readonly others?: () => readonly ProxyState[]
  /** The proxies of this replica may be others now. */
  proxiesChanged?(): void
  /** Where accepted generations are; absent: in the state directory. */
  readonly generations?: GenerationStore
  /** Statuses go to the API server, by the leader alone. */
  readonly writer?: StatusWriter
  /** Resolves when the reconciler may start: with half of a cluster it would take from workloads what they have. */
  ready(signal: AbortSignal): Promise<void>
  /** The roots in force may be others now. */
  rootsChanged?(): void
  stop(): Promise<void>
}

export interface SourceParts {
  readonly clock: Clock
  readonly log: Logger
  /** With their status. */
  readonly objects: StatusWriterOptions['objects']
  /** PEM of the roots in force; undefined: there are none yet. */
  readonly roots: () => string | undefined
  /** The proxies of this replica. */
  readonly proxies: () => readonly ProxyState[]
  /** What other replicas hear of their proxies is another now. */
  readonly onOthers: () => void
  /** What others share with this process is another now, or this one leads: what is in force is decided anew. */
  readonly onShared: () => void
}
