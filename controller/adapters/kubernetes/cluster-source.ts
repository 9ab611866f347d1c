/**
 * The Kubernetes API as the source of a pass: Postern's own objects as manifests, and pods, Services and EndpointSlices
 * as the cluster's facts. Nothing is said before every resource was listed once: half a cluster would take workloads
 * and policies from those who have them. Changes that come together are told together.
 */
import { remember } from '../../../common/remember.ts'
import { KINDS } from '../../core/crd/index.ts'
import { readCluster } from '../../core/kubernetes/cluster.ts'
import type { KubeObjects, Pod } from '../../core/kubernetes/objects.ts'
import { canonical } from '../../core/kubernetes/service.ts'
import type { ClusterFacts } from '../../core/translate/cluster.ts'
import type { ClusterSource, Log, ManifestFile, ManifestSource } from '../../runtime/ports.ts'
import { Informer, type Resource } from './informer.ts'
import type { KubeClient } from './kube-client.ts'
import {
  type CustomObject,
  customResource,
  ENDPOINT_SLICES,
  NAMESPACES,
  PODS,
  SERVICES,
} from './resources.ts'

export interface ClusterSourceOptions {
  readonly client: KubeClient
  readonly log: Log
  readonly silenceMs?: number
}

/** A rollout is many events; one pass serves all that come within this, milliseconds. */
const COALESCE_MS = 50

const byUid = remember((pods: readonly Pod[]) => new Map(pods.map((p) => [p.metadata.uid, p])))

const addressesOf = remember(
  (pods: readonly Pod[]) =>
    new Set(pods.flatMap((pod) => (pod.hostNetwork ? [] : canonical(pod.podIPs)))),
)

type Followed = Pick<Informer<unknown>, 'start' | 'synced' | 'lists' | 'stop'>

export class KubernetesSource implements ManifestSource, ClusterSource {
  readonly isExact = true
  readonly #pods: Informer<KubeObjects['pods'][number]>
  readonly #services: Informer<KubeObjects['services'][number]>
  readonly #slices: Informer<KubeObjects['endpointSlices'][number]>
  readonly #namespaces: Informer<KubeObjects['namespaces'][number]>
  readonly #custom: ReadonlyMap<string, Informer<CustomObject>>
  #listener: (() => void) | undefined
  readonly #followers = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: ClusterSourceOptions) {
    const follow = <T>(resource: Resource<T>) =>
      new Informer({ ...options, resource, onChange: () => this.#changed() })
    this.#pods = follow(PODS)
    this.#services = follow(SERVICES)
    this.#slices = follow(ENDPOINT_SLICES)
    this.#namespaces = follow(NAMESPACES)
    this.#custom = new Map(KINDS.map((kind) => [kind.kind, follow(customResource(kind))]))
  }

  /** Resolves when all is known, or `signal` aborts. */
  async start(signal: AbortSignal): Promise<void> {
    for (const informer of this.#all()) informer.start()
    const aborted = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    )
    await Promise.race([Promise.all([...this.#all()].map((i) => i.synced())), aborted])
  }

  async read(): Promise<readonly ManifestFile[]> {
    return [...this.#custom.values()]
      .flatMap((informer) => informer.values())
      .map(({ file }) => file)
      .sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  async watch(onChange: () => void): Promise<() => Promise<void>> {
    this.#listener = onChange
    return async () => {
      this.#listener = undefined
    }
  }

  /** Called, coalesced, after anything changed. */
  onChange(listener: () => void): void {
    this.#followers.add(listener)
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    await Promise.all([...this.#all()].map((informer) => informer.stop()))
  }

  objects(): KubeObjects {
    return {
      pods: this.#pods.values(),
      services: this.#services.values(),
      endpointSlices: this.#slices.values(),
      namespaces: this.#namespaces.values(),
    }
  }

  namespaces(): KubeObjects['namespaces'] {
    return this.#namespaces.values()
  }

  podByUid(uid: string): Pod | undefined {
    return byUid(this.#pods.values()).get(uid)
  }

  /** Of a pod on a network of its own: on the node's, the address is the node's. */
  isPodAddress(address: string): boolean {
    return addressesOf(this.#pods.values()).has(address)
  }

  cluster(): ClusterFacts {
    return readCluster(this.objects())
  }

  /** An object's status as the API server has it. `key` is `namespace/name`. */
  statusOf(kind: string, key: string): CustomObject['status'] | undefined {
    return this.#custom.get(kind)?.get(key)?.status
  }

  /** How often each resource was listed. */
  lists(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      [...this.#named()].map(([name, informer]) => [name, informer.lists()]),
    )
  }

  #changed(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#listener?.()
      for (const follower of this.#followers) follower()
    }, COALESCE_MS)
  }

  *#named(): Iterable<readonly [string, Followed]> {
    yield ['pods', this.#pods]
    yield ['services', this.#services]
    yield ['endpointslices', this.#slices]
    yield ['namespaces', this.#namespaces]
    yield* this.#custom
  }

  *#all(): Iterable<Followed> {
    for (const [, informer] of this.#named()) yield informer
  }
}
