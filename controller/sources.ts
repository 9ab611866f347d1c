/**
 * Where objects come from, part of the composition root: a folder of manifests, or the Kubernetes API.
 * In: the configuration. Out: what the reconciler reads, and how it comes up and ends.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { ManifestFolder } from './adapters/files/folder.ts'
import { KubernetesSource } from './adapters/kubernetes/cluster-source.ts'
import { createKubeClient } from './adapters/kubernetes/kube-client.ts'
import { Lease } from './adapters/kubernetes/lease.ts'
import { createPodWitness } from './adapters/kubernetes/pod-witness.ts'
import { createStatusSink } from './adapters/kubernetes/status-sink.ts'
import type { Config } from './config.ts'
import { LEASE_NAME } from './core/kubernetes/permissions.ts'
import type { PodWitness } from './runtime/identity/ports.ts'
import type { ClusterSource, ManifestSource } from './runtime/ports.ts'
import { StatusWriter, type StatusWriterOptions } from './runtime/status-writer.ts'

export interface Sources {
  readonly manifests: ManifestSource
  readonly cluster?: ClusterSource
  readonly pods?: PodWitness
  /** Statuses go to the API server, by the leader alone. */
  readonly writer?: StatusWriter
  /** Resolves when the reconciler may start: with half of a cluster it would take from workloads what they have. */
  ready(signal: AbortSignal): Promise<void>
  stop(): Promise<void>
}

export interface SourceParts {
  readonly clock: Clock
  readonly log: Logger
  /** With their status. */
  readonly objects: StatusWriterOptions['objects']
}

/** Throws ERR_CONFIG. */
export function createSources(config: Config, { clock, log, objects }: SourceParts): Sources {
  if (config.source === 'files') {
    const manifests = new ManifestFolder({ folder: config.manifests })
    return { manifests, ready: async () => {}, stop: async () => {} }
  }
  const client = createKubeClient(config.kubeconfig)
  const source = new KubernetesSource({ client, log: log.child({ component: 'kubernetes' }) })
  // The name of a pod is its host name; what follows tells its processes apart.
  const identity = `${hostname()}_${randomUUID()}`
  const lease = new Lease({
    client,
    namespace: config.namespace,
    name: LEASE_NAME,
    identity,
    clock,
    log: log.child({ component: 'lease' }),
    onChange: () => writer.touch(),
  })
  const writer = new StatusWriter({
    objects,
    sink: createStatusSink(client, source, identity),
    isLeader: () => lease.isLeader(),
    log: log.child({ component: 'status-writer' }),
  })
  return {
    manifests: source,
    writer,
    cluster: source,
    pods: createPodWitness(client, (uid) => source.podByUid(uid)),
    ready: async (signal) => {
      await source.start(signal)
      if (!signal.aborted) lease.start()
      if (!signal.aborted) log.info({}, 'all of the cluster is known')
    },
    stop: async () => {
      await writer.stop()
      await lease.stop()
      await source.stop()
      client.close()
    },
  }
}
