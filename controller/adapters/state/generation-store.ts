/**
 * Accepted generations on disk: `generations/<sequence>.json` and `wasm/<sha256>.wasm` below the state directory.
 * The newest two are kept. Every file is written whole, synced, and renamed; every file is verified when it is read.
 * A generation that is damaged is named and the one before it is used; nothing damaged is ever returned.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../../../common/bundle.ts'
import { MeshError } from '../../../common/errors.ts'
import { writePrivate } from '../../../host/private-file.ts'
import {
  decodeGeneration,
  encodeGeneration,
  type StoredGeneration,
  wasmDigests,
} from '../../core/accept/generation.ts'
import type { AcceptedState } from '../../core/accept/objects.ts'
import type { GenerationStore, LoadedGeneration } from '../../runtime/ports.ts'

const KEPT = 2
const GENERATION_NAME = /^(\d{12})\.json$/
const WASM_NAME = /^([0-9a-f]{64})\.wasm$/

/** Whether something was ever accepted here, damaged or not. */
export async function hasGeneration(stateDir: string): Promise<boolean> {
  const names = await readdir(join(stateDir, 'generations')).catch(() => [])
  return names.some((name) => GENERATION_NAME.test(name))
}

export class FileGenerationStore implements GenerationStore {
  readonly #generations: string
  readonly #wasm: string
  #sequence = 0
  /** Modules that generations need which this process has read or written. */
  readonly #needs = new Map<number, readonly string[]>()

  /** Both folders are made below `stateDir`, which exists. */
  constructor(stateDir: string) {
    this.#generations = join(stateDir, 'generations')
    this.#wasm = join(stateDir, 'wasm')
  }

  async load(): Promise<LoadedGeneration> {
    await this.#makeFolders()
    const faults: string[] = []
    const sequences = await this.#sequences()
    // Damaged or not: a number is never used again.
    this.#sequence = sequences[0] ?? 0
    for (const sequence of sequences) {
      const read = await this.#read(sequence)
      if (typeof read !== 'string') return { ...read, faults }
      faults.push(`generation ${sequence}: ${read}`)
    }
    return { state: undefined, wasm: new Map(), faults }
  }

  async save(state: AcceptedState, wasm: ReadonlyMap<string, Uint8Array>): Promise<boolean> {
    const sequence = this.#sequence + 1
    try {
      await this.#makeFolders()
      const present = new Set(await readdir(this.#wasm))
      for (const digest of wasmDigests(state)) {
        const bytes = wasm.get(digest)
        if (bytes === undefined) throw new Error(`module ${digest} is not at hand`)
        const isThere =
          present.has(`${digest}.wasm`) && (await this.#readWasm(digest)) !== undefined
        if (!isThere) await writePrivate(join(this.#wasm, `${digest}.wasm`), bytes)
      }
      await writePrivate(this.#pathOf(sequence), encodeGeneration({ sequence, state }))
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new MeshError('ERR_STATE_WRITE', `generation ${sequence} can't be stored: ${why}`, {
        retry: 'backoff',
        cause,
      })
    }
    this.#sequence = sequence
    this.#needs.set(sequence, wasmDigests(state))
    await this.#collect()
    return true
  }

  async #read(
    sequence: number,
  ): Promise<{ state: AcceptedState; wasm: Map<string, Uint8Array> } | string> {
    const generation = await this.#decode(sequence)
    if (typeof generation === 'string') return generation
    const wasm = new Map<string, Uint8Array>()
    for (const digest of wasmDigests(generation.state)) {
      const bytes = await this.#readWasm(digest)
      if (bytes === undefined) return `its module ${digest} is missing or damaged`
      wasm.set(digest, bytes)
    }
    return { state: generation.state, wasm }
  }

  async #decode(sequence: number): Promise<StoredGeneration | string> {
    try {
      return decodeGeneration(await readFile(this.#pathOf(sequence), 'utf8'))
    } catch (error) {
      return `it can't be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`
    }
  }

  /** The module's bytes when they have their digest. */
  async #readWasm(digest: string): Promise<Uint8Array | undefined> {
    const bytes = await readFile(join(this.#wasm, `${digest}.wasm`)).catch(() => undefined)
    if (bytes === undefined || sha256Hex(bytes) !== digest) return undefined
    return new Uint8Array(bytes)
  }

  /** Newest first. */
  async #sequences(): Promise<number[]> {
    const names = await readdir(this.#generations)
    return names
      .flatMap((name) => GENERATION_NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a)
  }

  /** Removes what the kept generations don't need. A failure leaves rubbish, and the next save tries again. */
  async #collect(): Promise<void> {
    const sequences = await this.#sequences()
    const needed = new Set<string>()
    for (const sequence of sequences.slice(0, KEPT)) {
      const needs = this.#needs.get(sequence) ?? (await this.#needsOf(sequence))
      if (needs === undefined) return
      this.#needs.set(sequence, needs)
      for (const digest of needs) needed.add(digest)
    }
    for (const sequence of sequences.slice(KEPT)) {
      this.#needs.delete(sequence)
      await remove(this.#pathOf(sequence))
    }
    for (const name of await readdir(this.#wasm)) {
      const digest = WASM_NAME.exec(name)?.[1]
      if (digest === undefined || !needed.has(digest)) await remove(join(this.#wasm, name))
    }
  }

  async #needsOf(sequence: number): Promise<readonly string[] | undefined> {
    const generation = await this.#decode(sequence)
    return typeof generation === 'string' ? undefined : wasmDigests(generation.state)
  }

  async #makeFolders(): Promise<void> {
    await mkdir(this.#generations, { recursive: true, mode: 0o700 })
    await mkdir(this.#wasm, { recursive: true, mode: 0o700 })
  }

  #pathOf(sequence: number): string {
    return join(this.#generations, `${String(sequence).padStart(12, '0')}.json`)
  }
}

async function remove(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => {})
}
