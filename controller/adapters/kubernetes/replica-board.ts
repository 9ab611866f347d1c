/**
 * What each replica knows of the proxies that are connected to it, told to the others by a ConfigMap of its own: a proxy
 * has one connection, and the leader writes status for all. Written when it changed, with pauses that grow with its size,
 * and renewed every five seconds; what was not renewed for fifteen, by the reader's clock, is of a replica that is dead.
 * One object for each replica, bounded in size: nobody waits for another's answer.
 */
import { promisify } from 'node:util'
import { gunzipSync, gzip } from 'node:zlib'
import { sha256Hex } from '../../../common/bundle.ts'
import type { Clock } from '../../../common/clock.ts'
import type { Log, ProxyState } from '../../runtime/ports.ts'
import { readProxyState } from '../../runtime/proxy-table.ts'
import { Queue } from '../../runtime/queue.ts'
import { Informer } from './informer.ts'
import { type Json, type KubeClient, KubeError } from './kube-client.ts'
import { FIELD_MANAGER } from './status-sink.ts'

export interface ReplicaBoardOptions {
  readonly client: KubeClient
  readonly namespace: string
  /** Of this process; unique. */
  readonly identity: string
  /** The proxies of this replica. */
  readonly own: () => readonly ProxyState[]
  readonly isLeader: () => boolean
  readonly clock: Clock
  readonly log: Log
  /** What others say is another now. */
  readonly onChange: () => void
}

const LABEL = 'postern.dev/replica'
const RENEW_MS = 5000
const DEAD_MS = 15_000
const MIN_PAUSE_MS = 1000
/** Of pause, for each byte: 200 kB, of some 1,000 proxies, are written every three seconds at most. */
const PAUSE_MS_PER_BYTE = 0.01
/** Some 200 bytes each, compressed: an object holds 1 MiB. */
const MAX_PROXIES = 3500
const MAX_TEXT = 1000
const MAX_NACKS = 5
const MAX_BYTES = 32 * 1024 * 1024
const APPLY = 'application/apply-patch+yaml'

const compress = promisify(gzip)

interface Told {
  readonly name: string
  readonly version: string
  readonly proxies: readonly ProxyState[]
}

export class ReplicaBoard {
  readonly #options: ReplicaBoardOptions
  readonly #name: string
  readonly #informer: Informer<Told>
  readonly #queue: Queue
  /** When each version was first seen, by the own clock. */
  readonly #seen = new Map<string, { readonly version: string; readonly atMs: number }>()
  #written = { text: '', atMs: Number.NEGATIVE_INFINITY }
  #alive = ''

  constructor(options: ReplicaBoardOptions) {
    this.#options = options
    const { client, log, identity } = options
    this.#name = `postern-replica-${sha256Hex(identity).slice(0, 16)}`
    this.#informer = new Informer({
      resource: {
        name: 'configmaps of replicas',
        path: this.#folder(),
        query: { labelSelector: `${LABEL}=proxies` },
        read: (json) => this.#read(json),
      },
      client,
      log,
      onChange: options.onChange,
    })
    this.#queue = new Queue({ run: (signal) => this.#run(signal), log })
  }

  async start(): Promise<void> {
    this.#informer.start()
    await this.#informer.synced()
    this.touch()
  }

  /** Takes back what it said: its proxies go elsewhere. */
  async stop(): Promise<void> {
    await this.#queue.stop()
    await this.#informer.stop()
    if (this.#written.text === '') return
    const signal = AbortSignal.timeout(2000)
    await this.#options.client
      .request('DELETE', this.#pathOf(this.#name), { signal })
      .catch(() => {})
  }

  /** The own proxies may be others now. */
  touch(): void {
    this.#queue.request()
  }

  /** What the other replicas said, who live; of two that name one proxy, the later comes last. */
  others(): readonly ProxyState[] {
    return this.#living()
      .sort((a, b) => this.#seenMs(a) - this.#seenMs(b))
      .flatMap(({ proxies }) => proxies)
  }

  #living(): Told[] {
    const nowMs = this.#options.clock.monotonic()
    return this.#informer
      .values()
      .filter((told) => told.name !== this.#name && nowMs - this.#seenMs(told) < DEAD_MS)
  }

  #seenMs({ name }: Told): number {
    return this.#seen.get(name)?.atMs ?? 0
  }

  async #run(signal: AbortSignal): Promise<{ requeueAfterMs: number }> {
    const nowMs = this.#options.clock.monotonic()
    await this.#sweep(signal)
    const { text, atMs } = this.#written
    const pauseMs = MIN_PAUSE_MS + text.length * PAUSE_MS_PER_BYTE
    if (nowMs < atMs + pauseMs) return { requeueAfterMs: atMs + pauseMs - nowMs }
    const next = await this.#encode()
    if (next === text && nowMs < atMs + RENEW_MS) return { requeueAfterMs: atMs + RENEW_MS - nowMs }
    await this.#write(next, signal)
    this.#written = { text: next, atMs: nowMs }
    return { requeueAfterMs: RENEW_MS }
  }

  async #encode(): Promise<string> {
    const connected = this.#options.own().filter((proxy) => proxy.connected)
    if (connected.length > MAX_PROXIES) {
      const fields = { proxies: connected.length, told: MAX_PROXIES }
      this.#options.log.warn(fields, 'too many proxies on this replica to tell others of all')
    }
    const told = connected.slice(0, MAX_PROXIES).map(shorten)
    return (await compress(JSON.stringify(told))).toString('base64')
  }

  /** Tells when one has died, and removes, as the leader, what it left. */
  async #sweep(signal: AbortSignal): Promise<void> {
    const { client, isLeader, onChange, clock } = this.#options
    const alive = this.#living().map(({ name }) => name)
    if (alive.join() !== this.#alive) onChange()
    this.#alive = alive.join()
    if (!isLeader()) return
    for (const told of this.#informer.values()) {
      if (told.name === this.#name || clock.monotonic() - this.#seenMs(told) < 2 * DEAD_MS) continue
      await client.request('DELETE', this.#pathOf(told.name), { signal })
    }
  }

  async #write(proxies: string, signal: AbortSignal): Promise<void> {
    const { client, namespace, identity } = this.#options
    const metadata = {
      name: this.#name,
      namespace,
      labels: { [LABEL]: 'proxies', 'app.kubernetes.io/part-of': 'postern' },
      annotations: {
        'postern.dev/identity': identity,
        'postern.dev/renewed': new Date().toISOString(),
      },
    }
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { proxies } }
    const path = `${this.#pathOf(this.#name)}?fieldManager=${FIELD_MANAGER}&force=true`
    const answer = await client.request('PATCH', path, { body, contentType: APPLY, signal })
    if (answer.status < 300) return
    throw new KubeError(answer.status, `ConfigMap ${this.#name}: ${String(answer.body.message)}`)
  }

  #read({ metadata, data }: Json): Told {
    const { name = '', resourceVersion = '' } = metadata as Record<string, string>
    if (this.#seen.get(name)?.version !== resourceVersion) {
      const atMs = this.#options.clock.monotonic()
      this.#seen.set(name, { version: resourceVersion, atMs })
    }
    const { proxies } = (data ?? {}) as { proxies?: string }
    return { name, version: resourceVersion, proxies: decode(proxies ?? '') }
  }

  #folder(): string {
    return `/api/v1/namespaces/${this.#options.namespace}/configmaps`
  }

  #pathOf(name: string): string {
    return `${this.#folder()}/${name}`
  }
}

function shorten(proxy: ProxyState): ProxyState {
  const cut = (text: string) => text.slice(0, MAX_TEXT)
  const nacks = proxy.nacks.slice(0, MAX_NACKS).map(({ typeUrl, names, message }) => ({
    typeUrl,
    names: names.slice(0, MAX_NACKS),
    message: cut(message),
  }))
  return { ...proxy, detail: cut(proxy.detail), nacks }
}

/** What is not legible, or of another version's form, says nothing. */
function decode(text: string): readonly ProxyState[] {
  try {
    const bytes = gunzipSync(Buffer.from(text, 'base64'), { maxOutputLength: MAX_BYTES })
    const list: unknown = JSON.parse(bytes.toString())
    return Array.isArray(list) ? list.flatMap((one) => readProxyState(one) ?? []) : []
  } catch {
    return []
  }
}
