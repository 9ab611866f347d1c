/**
 * Where objects come from, part of the composition root: a folder of manifests, or the Kubernetes API.
 * In: the configuration. Out: what the reconciler reads, and how it comes up and ends.
 */
import type { Logger } from 'pino'
import { ManifestFolder } from './adapters/files/folder.ts'
import { KubernetesSource } from './adapters/kubernetes/cluster-source.ts'
import { createKubeClient } from './adapters/kubernetes/kube-client.ts'
import { createPodWitness } from './adapters/kubernetes/pod-witness.ts'
import type { Config } from './config.ts'
import type { PodWitness } from './runtime/identity/ports.ts'
import type { ClusterSource, ManifestSource } from './runtime/ports.ts'

export interface Sources {
  readonly manifests: ManifestSource
  readonly cluster?: ClusterSource
  readonly pods?: PodWitness
  /** Resolves when the reconciler may start: with half of a cluster it would take from workloads what they have. */
  ready(signal: AbortSignal): Promise<void>
  stop(): Promise<void>
}

/** Throws ERR_CONFIG. */
export function createSources(config: Config, log: Logger): Sources {
  if (config.source === 'files') {
    const manifests = new ManifestFolder({ folder: config.manifests })
    return { manifests, ready: async () => {}, stop: async () => {} }
  }
  const client = createKubeClient(config.kubeconfig)
  const source = new KubernetesSource({ client, log: log.child({ component: 'kubernetes' }) })
  return {
    manifests: source,
    cluster: source,
    pods: createPodWitness(client, (uid) => source.podByUid(uid)),
    ready: async (signal) => {
      await source.start(signal)
      if (!signal.aborted) log.info({}, 'all of the cluster is known')
    },
    stop: async () => {
      await source.stop()
      client.close()
    },
  }
}
