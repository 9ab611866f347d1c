/**
 * The Kubernetes API as the source, part of the composition root. Loaded only where it is used: the client's models take
 * 60 MiB, which a standalone controller can do without.
 * In: the configuration. Out: `Sources`.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { KubernetesSource } from './adapters/kubernetes/cluster-source.ts'
import { createKubeClient } from './adapters/kubernetes/kube-client.ts'
import { Lease } from './adapters/kubernetes/lease.ts'
import { createPodWitness } from './adapters/kubernetes/pod-witness.ts'
import { createStatusSink } from './adapters/kubernetes/status-sink.ts'
import type { Config } from './config.ts'
import { LEASE_NAME } from './core/kubernetes/permissions.ts'
import { StatusWriter } from './runtime/status-writer.ts'
import type { SourceParts, Sources } from './sources.ts'

/** Throws ERR_CONFIG. */
export function createKubernetesSources(
  config: Config,
  { clock, log, objects }: SourceParts,
): Sources {
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
