/**
 * Accepted generations as ControllerRevisions, which all replicas read and the leader writes. A generation and its WASM
 * modules are compressed and cut into chunks that fit an object, each named by its digest, so that equal ones are stored
 * once; the head, written last, names them. The newest two generations are kept. All is verified when it is read: what is
 * damaged is named, and the generation before it is used.
 */
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { sha256Hex } from '../../../common/bundle.ts'
import { MeshError } from '../../../common/errors.ts'
import { decodeGeneration, encodeGeneration, wasmDigests } from '../../core/accept/generation.ts'
import type { AcceptedState } from '../../core/accept/objects.ts'
import type { GenerationStore, LoadedGeneration, Log } from '../../runtime/ports.ts'
import { Informer, metadataOf } from './informer.ts'
import type { Json, KubeAnswer, KubeClient } from './kube-client.ts'

export interface RevisionStoreOptions {
  readonly client: KubeClient
  readonly namespace: string
  readonly isLeader: () => boolean
  /** Another replica stored a newer generation. */
  readonly onNewer: () => void
  readonly log: Log
}

const KEPT = 2
/** Base64 characters. etcd takes 1.5 MiB for an object. */
const CHUNK = 900_000
/** Of one generation with its modules, compressed: some 40 MB. */
const MAX_CHUNKS = 64
/** What a chunk may grow to when it is read: a damaged one must not fill the memory. */
const MAX_BYTES = 256 * 1024 * 1024
const LABELS = { 'app.kubernetes.io/part-of': 'postern' }
const SELECTOR = 'app.kubernetes.io/part-of=postern'
const NAMES_ONLY = metadataOf('PartialObjectMetadataList')
const HEAD = /^postern-generation-(\d{12})$/
const CHUNK_NAME = /^postern-chunk-[0-9a-f]{64}$/

const compress = promisify(gzip)
const decompress = promisify(gunzip)

/** What one text or module is stored as: digests of its chunks, in order. */
type Chunks = readonly string[]

interface Head {
  readonly text: Chunks
  /** By the module's digest. */
  readonly wasm: Readonly<Record<string, Chunks>>
}

export class RevisionStore implements GenerationStore {
  readonly #options: RevisionStoreOptions
  /** Names only: what is stored is read when it is needed. */
  readonly #informer: Informer<string>
  /** Newest that this process has read or written. */
  #sequence = 0
  /** Chunks that this process has verified, or written. */
  readonly #verified = new Set<string>()

  constructor(options: RevisionStoreOptions) {
    this.#options = options
    const { client, log } = options
    this.#informer = new Informer({
      resource: {
        name: 'controllerrevisions',
        path: this.#folder(),
        query: { labelSelector: SELECTOR },
        metadataOnly: true,
        read: ({ metadata }) => String((metadata as Json).name),
      },
      client,
      log,
      onChange: () => {
        if (this.#isBehind()) options.onNewer()
      },
    })
  }

  /** Resolves when all names are known. */
  async start(): Promise<void> {
    this.#informer.start()
    await this.#informer.synced()
  }

  stop(): Promise<void> {
    return this.#informer.stop()
  }

  async load(): Promise<LoadedGeneration> {
    const faults: string[] = []
    const sequences = await this.#sequences()
    // Damaged or not: a number is never used again.
    this.#sequence = Math.max(this.#sequence, sequences[0] ?? 0)
    for (const sequence of sequences) {
      const read = await this.#read(sequence)
      if (typeof read !== 'string') return { ...read, faults }
      faults.push(`generation ${sequence}: ${read}`)
    }
    return { state: undefined, wasm: new Map(), faults }
  }

  async newer(): Promise<LoadedGeneration | undefined> {
    return this.#isBehind() ? this.load() : undefined
  }

  async save(state: AcceptedState, wasm: ReadonlyMap<string, Uint8Array>): Promise<boolean> {
    if (!this.#options.isLeader()) return false
    const sequence = this.#sequence + 1
    try {
      const head = await this.#writeChunks({ sequence, state }, wasm)
      // Asked again: storing takes time, and who leads now may have stored what is newer.
      if (!this.#options.isLeader()) return false
      const answer = await this.#write(nameOf(sequence), head, sequence)
      if (answer.status === 409) throw new Error('another replica was faster')
      check(answer)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new MeshError('ERR_STATE_WRITE', `generation ${sequence} can't be stored: ${why}`, {
        retry: 'backoff',
        cause,
      })
    }
    this.#sequence = sequence
    await this.#collect().catch((err: unknown) => {
      this.#options.log.warn({ err }, 'old generations were not removed; the next save tries again')
    })
    return true
  }

  /** The informer says so a little late; whoever writes finds out by the name that is taken. */
  #isBehind(): boolean {
    return this.#informer.values().some((name) => sequenceOf(name) > this.#sequence)
  }

  async #writeChunks(
    generation: Parameters<typeof encodeGeneration>[0],
    wasm: ReadonlyMap<string, Uint8Array>,
  ): Promise<Head> {
    const parts = new Map<string, readonly string[]>()
    const text = cut(await compress(encodeGeneration(generation)))
    for (const digest of wasmDigests(generation.state)) {
      const bytes = wasm.get(digest)
      if (bytes === undefined) throw new Error(`module ${digest} is not at hand`)
      parts.set(digest, cut(await compress(bytes)))
    }
    const all = [text, ...parts.values()].flat()
    if (all.length > MAX_CHUNKS) {
      throw new Error(
        `it is too large: ${all.length} objects of ${CHUNK / 1000} kB, at most ${MAX_CHUNKS}; make policies and their Rego smaller`,
      )
    }
    for (const chunk of all) await this.#writeChunk(chunk)
    const modules = [...parts].map(([digest, chunks]) => [digest, chunks.map(sha256Hex)] as const)
    return { text: text.map(sha256Hex), wasm: Object.fromEntries(modules) }
  }

  async #writeChunk(chunk: string): Promise<void> {
    const digest = sha256Hex(chunk)
    const name = `postern-chunk-${digest}`
    if (this.#verified.has(name) && this.#informer.values().includes(name)) return
    const answer = await this.#write(name, { chunk }, 0)
    if (answer.status === 409) {
      if ((await this.#readChunk(digest)) !== undefined) return
      // Its content can't be changed, only made anew.
      await this.#delete(name)
      check(await this.#write(name, { chunk }, 0))
    } else check(answer)
    this.#verified.add(name)
  }

  async #read(
    sequence: number,
  ): Promise<{ state: AcceptedState; wasm: Map<string, Uint8Array> } | string> {
    const head = await this.#readHead(sequence)
    if (head === undefined) return 'it is not legible'
    const text = await this.#join(head.text)
    if (text === undefined) return 'a part of it is missing or damaged'
    const generation = decode(text.toString())
    if (typeof generation === 'string') return generation
    if (generation.sequence !== sequence) return `it is generation ${generation.sequence}`
    const wasm = new Map<string, Uint8Array>()
    for (const digest of wasmDigests(generation.state)) {
      const bytes = await this.#join(head.wasm[digest] ?? [])
      if (bytes === undefined || sha256Hex(bytes) !== digest)
        return `its module ${digest} is missing or damaged`
      wasm.set(digest, new Uint8Array(bytes))
    }
    return { state: generation.state, wasm }
  }

  async #readHead(sequence: number): Promise<Head | undefined> {
    const { text, wasm } = (await this.#get(nameOf(sequence))) ?? {}
    if (!isChunks(text) || typeof wasm !== 'object' || wasm === null) return undefined
    if (!Object.values(wasm).every(isChunks)) return undefined
    return { text, wasm: wasm as Head['wasm'] }
  }

  async #join(chunks: Chunks): Promise<Buffer | undefined> {
    const texts: string[] = []
    for (const digest of chunks) {
      const chunk = await this.#readChunk(digest)
      if (chunk === undefined) return undefined
      texts.push(chunk)
    }
    const bytes = Buffer.from(texts.join(''), 'base64')
    return decompress(bytes, { maxOutputLength: MAX_BYTES }).catch(() => undefined)
  }

  /** When it has its digest. */
  async #readChunk(digest: string): Promise<string | undefined> {
    const name = `postern-chunk-${digest}`
    const { chunk } = (await this.#get(name)) ?? {}
    if (typeof chunk !== 'string' || sha256Hex(chunk) !== digest) return undefined
    this.#verified.add(name)
    return chunk
  }

  async #get(name: string): Promise<Json | undefined> {
    const answer = await this.#request('GET', `${this.#folder()}/${name}`)
    if (answer.status === 404) return undefined
    check(answer)
    return (answer.body.data ?? {}) as Json
  }

  #write(name: string, data: object, revision: number): Promise<KubeAnswer> {
    const { namespace } = this.#options
    return this.#request('POST', this.#folder(), {
      apiVersion: 'apps/v1',
      kind: 'ControllerRevision',
      metadata: { name, namespace, labels: LABELS },
      data,
      revision,
    })
  }

  async #delete(name: string): Promise<void> {
    const answer = await this.#request('DELETE', `${this.#folder()}/${name}`)
    if (answer.status !== 404) check(answer)
    this.#verified.delete(name)
  }

  /** Removes what the kept generations don't need; nothing, when one of those can't be read. */
  async #collect(): Promise<void> {
    const sequences = [...new Set([this.#sequence, ...(await this.#sequences())])]
    const kept = sequences.sort((a, b) => b - a).slice(0, KEPT)
    const needed = new Set<string>(kept.map(nameOf))
    for (const sequence of kept) {
      const head = await this.#readHead(sequence)
      if (head === undefined) return
      for (const digest of [head.text, ...Object.values(head.wasm)].flat())
        needed.add(`postern-chunk-${digest}`)
    }
    for (const name of await this.#names()) {
      if (!this.#options.isLeader()) return
      // One that is newer than ours is another's.
      if (!needed.has(name) && sequenceOf(name) < this.#sequence) await this.#delete(name)
    }
  }

  async #sequences(): Promise<readonly number[]> {
    const found = (await this.#names()).map(sequenceOf).filter((sequence) => sequence > 0)
    return found.sort((a, b) => b - a)
  }

  /** From the API server itself: the informer may be a little behind. */
  async #names(): Promise<readonly string[]> {
    const query = new URLSearchParams({ labelSelector: SELECTOR })
    const answer = await this.#request('GET', `${this.#folder()}?${query}`, undefined, NAMES_ONLY)
    check(answer)
    const items = (answer.body.items ?? []) as readonly { metadata: { name: string } }[]
    return items
      .map(({ metadata }) => metadata.name)
      .filter((name) => HEAD.test(name) || CHUNK_NAME.test(name))
  }

  async #request(method: string, path: string, body?: unknown, accept?: string) {
    const { client } = this.#options
    return client.request(method, path, {
      ...(body === undefined ? {} : { body }),
      ...(accept === undefined ? {} : { accept }),
    })
  }

  #folder(): string {
    return `/apis/apps/v1/namespaces/${this.#options.namespace}/controllerrevisions`
  }
}

function cut(bytes: Uint8Array): readonly string[] {
  const text = Buffer.from(bytes).toString('base64')
  const count = Math.max(1, Math.ceil(text.length / CHUNK))
  return Array.from({ length: count }, (_, i) => text.slice(i * CHUNK, (i + 1) * CHUNK))
}

function decode(text: string): ReturnType<typeof decodeGeneration> {
  try {
    return decodeGeneration(text)
  } catch {
    return 'it is not legible'
  }
}

/** 0: it is no head. */
function sequenceOf(name: string): number {
  return Number(HEAD.exec(name)?.[1] ?? 0)
}

function nameOf(sequence: number): string {
  return `postern-generation-${String(sequence).padStart(12, '0')}`
}

function isChunks(value: unknown): value is Chunks {
  return (
    Array.isArray(value) &&
    value.length <= MAX_CHUNKS &&
    value.every((digest) => typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest))
  )
}

function check({ status, body }: KubeAnswer): void {
  if (status < 300) return
  throw new Error(`the API server answered ${status}: ${String(body.message)}`)
}
