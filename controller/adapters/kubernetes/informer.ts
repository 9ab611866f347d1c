/**
 * One resource of the API server, kept current: list, then watch from there, for ever.
 *
 *   list ──▶ watch ──▶ (ended, cut) ──▶ watch on from the last version seen     bookmarks keep that version young
 *    ▲          └── 410 Gone, or it fails again and again ──┐                    pauses grow, with jitter
 *    └──────────────────────────────────────────────────────┘                    what was known stays known meanwhile
 *
 * An object is trimmed before it is kept; one whose trimmed form is equal to the one before is no change. A watch that is
 * silent for longer than bookmarks ever are is taken for dead. Nothing that was missed is lost: a new list is compared.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { shareEqual } from '../../../common/remember.ts'
import type { Log } from '../../runtime/ports.ts'
import { type Json, type KubeClient, KubeError } from './kube-client.ts'

export interface Resource<T> {
  /** For logs, such as `pods`. */
  readonly name: string
  readonly path: string
  /** Selectors. */
  readonly query?: Readonly<Record<string, string>>
  /** Of each object nothing but its metadata is asked for. */
  readonly metadataOnly?: true
  readonly read: (json: Json) => T
  /** What of a value is a change when it is another. Absent: all of it. */
  readonly matters?: (value: T) => unknown
}

export interface InformerOptions<T> {
  readonly resource: Resource<T>
  readonly client: KubeClient
  /** After a change, and once when all is listed. */
  readonly onChange: () => void
  readonly log: Log
  /** In [0, 1). */
  readonly random?: () => number
  readonly minBackoffMs?: number
  readonly silenceMs?: number
}

const PAGE = 500
const MIN_BACKOFF_MS = 200
const MAX_BACKOFF_MS = 30_000
/** The server ends a watch after 5 to 10 minutes, so that connections spread over its replicas. */
const WATCH_SECONDS = 300
/** Bookmarks come every minute. */
const SILENCE_MS = 180_000
/** A watch that ends by itself sooner counts as failed. */
const SHORT_MS = 1000
/** Failures in a row after which the version is doubted, too: an API server that was restored from a backup. */
const DOUBT_AFTER = 4

const GONE = 410

export class Informer<T> {
  readonly #options: InformerOptions<T>
  readonly #known = new Map<string, T>()
  readonly #abort = new AbortController()
  #values: readonly T[] | undefined
  #version: string | undefined
  #failures = 0
  #lists = 0
  #done: Promise<void> = Promise.resolve()
  readonly #synced = Promise.withResolvers<void>()

  constructor(options: InformerOptions<T>) {
    this.#options = options
  }

  start(): void {
    this.#done = this.#run()
  }

  /** Resolves when all that there is was listed once. */
  synced(): Promise<void> {
    return this.#synced.promise
  }

  /** The same list while nothing changed. */
  values(): readonly T[] {
    this.#values ??= [...this.#known.values()]
    return this.#values
  }

  get(key: string): T | undefined {
    return this.#known.get(key)
  }

  /** How often all was listed: once, unless something was missed. */
  lists(): number {
    return this.#lists
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('the controller stops'))
    await this.#done
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list(signal)
        await this.#watch(signal)
      } catch (error) {
        if (signal.aborted) return
        await this.#failed(error, signal)
      }
    }
  }

  async #failed(error: unknown, signal: AbortSignal): Promise<void> {
    const { resource, log } = this.#options
    this.#failures += 1
    const isGone = error instanceof KubeError && error.status === GONE
    if (isGone || this.#failures % DOUBT_AFTER === 0) this.#version = undefined
    const retryAfterMs = this.#backoff()
    const err = error instanceof Error ? error.message : String(error)
    const fields = { resource: resource.name, err, retryAfterMs }
    if (isGone) log.info(fields, 'the watch is too old; all is listed again')
    else if (this.#failures > 1) log.warn(fields, 'watch failed; what was known stays')
    await wait(retryAfterMs, undefined, { signal }).catch(() => {})
  }

  /** With jitter: after an outage all replicas and resources would come at once. */
  #backoff(): number {
    const { random = Math.random, minBackoffMs = MIN_BACKOFF_MS } = this.#options
    const full = Math.min(MAX_BACKOFF_MS, minBackoffMs * 2 ** Math.min(this.#failures - 1, 20))
    return full * (0.5 + random() / 2)
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { found, version } = await this.#fetchAll(signal)
    let isChanged = false
    for (const key of this.#known.keys()) {
      if (found.has(key)) continue
      this.#known.delete(key)
      isChanged = true
    }
    for (const [key, value] of found) isChanged = this.#keep(key, value) || isChanged
    this.#version = version
    this.#lists += 1
    if (isChanged || this.#lists === 1) this.#changed()
    this.#synced.resolve()
  }

  /** Page by page, each trimmed before the next is asked for. */
  async #fetchAll(signal: AbortSignal) {
    const found = new Map<string, T>()
    for (let next = ''; ; ) {
      const page = { limit: String(PAGE), ...(next === '' ? {} : { continue: next }) }
      const { status, body } = await this.#options.client.request('GET', this.#path(page), {
        signal,
        ...this.#accept('PartialObjectMetadataList'),
      })
      if (status !== 200) throw new KubeError(status, String(body.message ?? ''))
      const { items, metadata } = body as { items: readonly Json[] | null; metadata: Json }
      for (const item of items ?? []) found.set(keyOf(item), this.#read(item))
      next = String(metadata.continue ?? '')
      if (next === '') return { found, version: String(metadata.resourceVersion ?? '') }
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, random = Math.random, silenceMs = SILENCE_MS } = this.#options
    const path = this.#path({
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#version ?? '',
      timeoutSeconds: String(Math.round(WATCH_SECONDS * (1 + random()))),
    })
    const startMs = performance.now()
    await client.watch(path, {
      signal,
      silenceMs,
      ...this.#accept('PartialObjectMetadata'),
      onEvent: (event) => this.#take(event),
    })
    // One that always ends at once would be asked for without end.
    if (performance.now() - startMs < SHORT_MS) throw new KubeError(0, 'the watch ended at once')
    this.#failures = 0
  }

  #take({ type, object }: { readonly type: string; readonly object: Json }): void {
    if (type === 'ERROR') throw new KubeError(Number(object.code), String(object.message ?? ''))
    this.#failures = 0
    const { resourceVersion } = (object.metadata ?? {}) as { resourceVersion?: string }
    const key = keyOf(object)
    const isChanged =
      type === 'DELETED'
        ? this.#known.delete(key)
        : type !== 'BOOKMARK' && this.#keep(key, this.#read(object))
    if (resourceVersion !== undefined) this.#version = resourceVersion
    if (isChanged) this.#changed()
  }

  #accept(form: 'PartialObjectMetadata' | 'PartialObjectMetadataList'): { accept?: string } {
    const { metadataOnly } = this.#options.resource
    return metadataOnly === undefined ? {} : { accept: metadataOf(form) }
  }

  #read(json: Json): T {
    return this.#options.resource.read(json)
  }

  /** Whether that is another value than before. */
  #keep(key: string, value: T): boolean {
    const before = this.#known.get(key)
    const kept = before === undefined ? value : (shareEqual(before, value) as T)
    if (kept === before) return false
    this.#known.set(key, kept)
    this.#values = undefined
    const { matters } = this.#options.resource
    return before === undefined || matters === undefined || matters(kept) !== matters(before)
  }

  #changed(): void {
    this.#values = undefined
    this.#options.onChange()
  }

  #path(query: Readonly<Record<string, string>>): string {
    const { path, query: own = {} } = this.#options.resource
    return `${path}?${new URLSearchParams({ ...own, ...query })}`
  }
}

export function metadataOf(form: 'PartialObjectMetadata' | 'PartialObjectMetadataList'): string {
  return `application/json;as=${form};g=meta.k8s.io;v=v1`
}

export function keyOf({ metadata }: Json): string {
  const { namespace = '', name = '' } = (metadata ?? {}) as { namespace?: string; name?: string }
  return `${namespace}/${name}`
}
