/**
 * The Kubernetes API as the source, part of the composition root. Loaded only where it is used: the client's models take
 * 60 MiB, which a standalone controller can do without.
 * In: the configuration. Out: `Sources`.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { KubernetesSource } from './adapters/kubernetes/cluster-source.ts'
import { createKubeClient, type KubeClient } from './adapters/kubernetes/kube-client.ts'
import { Lease } from './adapters/kubernetes/lease.ts'
import { createPodWitness } from './adapters/kubernetes/pod-witness.ts'
import { ReplicaBoard } from './adapters/kubernetes/replica-board.ts'
import { RevisionStore } from './adapters/kubernetes/revision-store.ts'
import { RootsKeeper } from './adapters/kubernetes/roots-keeper.ts'
import { SecretStore } from './adapters/kubernetes/secret-store.ts'
import { createStatusSink } from './adapters/kubernetes/status-sink.ts'
import { WebhookConfigurations } from './adapters/kubernetes/webhook-configurations.ts'
import type { Config } from './config.ts'
import { KEYS_NAME, LEASE_NAME } from './core/kubernetes/permissions.ts'
import { StatusWriter } from './runtime/status-writer.ts'
import type { SourceParts, Sources } from './sources.ts'

/** Throws ERR_CONFIG. */
export function createKubernetesSources(config: Config, parts: SourceParts): Sources {
  const { clock, log, objects, onShared } = parts
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
    onChange: () => {
      for (const tell of [() => writer.touch(), touch, onShared]) tell()
    },
  })
  const isLeader = () => lease.isLeader()
  const shared = createShared(config, { ...parts, client, source, identity, isLeader })
  const { rootsKeeper, keys, generations, replicas, webhooks, touch } = shared
  const writer = new StatusWriter({
    objects,
    sink: createStatusSink(client, source, identity),
    isLeader,
    log: log.child({ component: 'status-writer' }),
  })
  return {
    manifests: source,
    writer,
    cluster: source,
    pods: createPodWitness(client, source),
    keys,
    generations,
    others: () => replicas.others(),
    proxiesChanged: () => replicas.touch(),
    rootsChanged: touch,
    ready: async (signal) => {
      await untilKnown(signal, { source, lease, ...shared })
      if (!signal.aborted) log.info({}, 'all of the cluster is known')
    },
    stop: async () => {
      const parts = [writer, webhooks, replicas, rootsKeeper, keys, generations, lease, source]
      for (const part of parts) await part?.stop()
      client.close()
    },
  }
}

/** Resolves when all is known and the Lease was tried once, or `signal` aborts. */
async function untilKnown(
  signal: AbortSignal,
  {
    source,
    lease,
    ...shared
  }: ReturnType<typeof createShared> & {
    readonly source: KubernetesSource
    readonly lease: Lease
  },
): Promise<void> {
  const { rootsKeeper, keys, generations, replicas, webhooks } = shared
  const kept = [rootsKeeper, keys, generations, replicas].map((part) => part.start())
  await Promise.race([Promise.all([source.start(signal), ...kept]), aborted(signal)])
  if (!signal.aborted) for (const part of [lease, webhooks]) part?.start()
  await Promise.race([lease.tried(), aborted(signal)])
}

interface SharedParts extends SourceParts {
  readonly identity: string
  readonly client: KubeClient
  readonly source: KubernetesSource
  readonly isLeader: () => boolean
}

/** What all replicas share: the authority's keys and roots, also for the API server, and what was accepted. */
function createShared({ namespace, webhook }: Config, parts: SharedParts) {
  const { client, source, log, roots, isLeader, onShared } = parts
  const rootsKeeper = new RootsKeeper({
    client,
    namespace,
    namespaces: () => source.namespaces(),
    roots,
    isLeader,
    log: log.child({ component: 'roots' }),
  })
  source.onChange(() => rootsKeeper.touch())
  const keys = new SecretStore({
    client,
    namespace,
    name: KEYS_NAME,
    mayCreate: isLeader,
    givenOut: () => rootsKeeper.givenOut(),
    log: log.child({ component: 'keys' }),
  })
  const generations = new RevisionStore({
    client,
    namespace,
    isLeader,
    onNewer: onShared,
    log: log.child({ component: 'generations' }),
  })
  const replicas = new ReplicaBoard({
    client,
    namespace,
    identity: parts.identity,
    own: parts.proxies,
    isLeader,
    clock: parts.clock,
    log: log.child({ component: 'replicas' }),
    onChange: parts.onOthers,
  })
  const toApi = { client, roots, isLeader, log: log.child({ component: 'webhooks' }) }
  const webhooks = webhook === undefined ? undefined : new WebhookConfigurations(toApi)
  const touch = () => {
    rootsKeeper.touch()
    webhooks?.touch()
  }
  return { rootsKeeper, keys, generations, replicas, webhooks, touch }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
