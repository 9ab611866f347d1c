/**
 * The roots as pods find them: ConfigMap `postern-ca-roots` in each namespace whose pods get sidecars, and in the
 * controller's own, where it also says after a loss that there was an authority. Written by the leader alone, mended when
 * it is edited or deleted. One that is there stays current also where the label has gone: pods may still hold it.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Namespace } from '../../core/kubernetes/objects.ts'
import { isInjected, OWN_LABELS, ROOTS_KEY, ROOTS_NAME } from '../../core/kubernetes/roots.ts'
import type { Log } from '../../runtime/ports.ts'
import { Queue } from '../../runtime/queue.ts'
import { Informer } from './informer.ts'
import { type Json, type KubeClient, KubeError } from './kube-client.ts'
import { FIELD_MANAGER } from './status-sink.ts'

export interface RootsKeeperOptions {
  readonly client: KubeClient
  /** The controller's own. */
  readonly namespace: string
  readonly namespaces: () => readonly Namespace[]
  /** PEM of the roots in force; undefined: there are none yet. */
  readonly roots: () => string | undefined
  readonly isLeader: () => boolean
  readonly log: Log
}

const APPLY = 'application/apply-patch+yaml'

interface RootsMap {
  readonly namespace: string
  readonly data: Readonly<Record<string, string>>
  readonly isOwn: boolean
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g

export class RootsKeeper {
  readonly #options: RootsKeeperOptions
  readonly #informer: Informer<RootsMap>
  readonly #queue: Queue

  constructor(options: RootsKeeperOptions) {
    this.#options = options
    const { client, log } = options
    this.#informer = new Informer({
      resource: {
        name: `configmaps/${ROOTS_NAME}`,
        path: '/api/v1/configmaps',
        query: { fieldSelector: `metadata.name=${ROOTS_NAME}` },
        read: readMap,
      },
      client,
      log,
      onChange: () => this.touch(),
    })
    this.#queue = new Queue({ run: (signal) => this.#run(signal), log })
  }

  /** Resolves when all are known. */
  async start(): Promise<void> {
    this.#informer.start()
    await this.#informer.synced()
  }

  async stop(): Promise<void> {
    await this.#queue.stop()
    await this.#informer.stop()
  }

  /** Namespaces, roots or the leader may be others. */
  touch(): void {
    this.#queue.request()
  }

  /** DER, as they stand in the controller's own namespace; empty: nothing legible. Undefined: there is no ConfigMap. */
  givenOut(): readonly Uint8Array[] | undefined {
    const { data } = this.#of(this.#options.namespace) ?? {}
    if (data === undefined) return undefined
    return [...(data[ROOTS_KEY] ?? '').matchAll(CERTIFICATE)].map(([, base64 = '']) =>
      Buffer.from(base64, 'base64'),
    )
  }

  #of(namespace: string): RootsMap | undefined {
    return this.#informer.get(`${namespace}/${ROOTS_NAME}`)
  }

  async #run(signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { namespaces, namespace: own, roots, isLeader } = this.#options
    const pem = roots()
    if (pem === undefined) return {}
    const failures: unknown[] = []
    for (const { metadata } of namespaces()) {
      signal.throwIfAborted()
      // Asked before each: who lost the lease meanwhile writes nothing more.
      if (!isLeader()) return {}
      if (metadata.deletionTimestamp !== undefined) continue
      const there = this.#of(metadata.name)
      const isKept = there?.isOwn === true || metadata.name === own || isInjected(metadata)
      if (!isKept || isDeepStrictEqual(there, toMap(metadata.name, pem))) continue
      // One that can't be written must not keep the others from it.
      await this.#write(metadata.name, pem, signal).catch((error: unknown) => failures.push(error))
    }
    if (failures.length > 0) throw failures[0]
    return {}
  }

  async #write(namespace: string, pem: string, signal: AbortSignal): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: ROOTS_NAME, namespace, labels: OWN_LABELS },
      data: { [ROOTS_KEY]: pem },
    }
    const path = `/api/v1/namespaces/${namespace}/configmaps/${ROOTS_NAME}`
    const query = `?fieldManager=${FIELD_MANAGER}`
    const { client, log } = this.#options
    // To make it, by apply, which may be allowed for one name; to mend it, whole: nothing that was added stays.
    const isThere = this.#of(namespace) !== undefined
    const answer = isThere
      ? await client.request('PUT', path + query, { body, signal })
      : await client.request('PATCH', `${path + query}&force=true`, {
          body,
          contentType: APPLY,
          signal,
        })
    // Gone meanwhile, or about to.
    if (answer.status === 404 || isEnding(answer.body)) return
    // Made immutable: what can't be mended is made anew, at the event of its end.
    if (isThere && answer.status === 422) await client.request('DELETE', path, { signal })
    if (answer.status >= 300) {
      const what = `ConfigMap ${namespace}/${ROOTS_NAME}: ${String(answer.body.message)}`
      throw new KubeError(answer.status, what)
    }
    log.info({ namespace }, 'the roots were written')
  }
}

function isEnding({ details }: Json): boolean {
  const { causes = [] } = (details ?? {}) as { causes?: readonly Json[] }
  return causes.some(({ reason }) => reason === 'NamespaceTerminating')
}

function readMap({ metadata, data, binaryData }: Json): RootsMap {
  const { namespace = '', labels = {} } = metadata as {
    namespace?: string
    labels?: Record<string, string>
  }
  const isOwn = Object.entries(OWN_LABELS).every(([key, value]) => labels[key] === value)
  const all = { ...((binaryData ?? {}) as object), ...((data ?? {}) as object) }
  return { namespace, data: all as Record<string, string>, isOwn }
}

const toMap = (namespace: string, pem: string): RootsMap => ({
  namespace,
  data: { [ROOTS_KEY]: pem },
  isOwn: true,
})
