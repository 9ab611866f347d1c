/**
 * The registry in memory and where it is kept. In: changes of it. Out: the registry, and promises that resolve once a
 * change is stored. What is not stored is never taken for stored; nothing is spent twice.
 */

import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import { EMPTY_REGISTRY, type Registry } from '../../core/ca/registry.ts'
import { formatRegistry, parseRegistry } from '../../core/ca/registry-text.ts'
import { REGISTRY_FILE } from './authority.ts'
import type { IdentityStore } from './ports.ts'

export interface Records {
  get(): Registry
  /** Takes over what others wrote. Rejects with ERR_STATE_CORRUPT, ERR_CA_NOT_READY; the last good stays. */
  refresh(): Promise<void>
  /** Rejects with ERR_STATE_WRITE. */
  commit(change: (registry: Registry) => Registry): Promise<void>
}

/** Throws ERR_STATE_CORRUPT. */
export async function openRecords(store: IdentityStore): Promise<Records> {
  const registry = await readFrom(store)
  return store.shared === undefined
    ? new OwnRecords(store, registry)
    : new SharedRecords(store, registry)
}

async function readFrom(store: IdentityStore): Promise<Registry> {
  const text = await store.read(REGISTRY_FILE)
  try {
    return parseRegistry(text.reveal())
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    throw new MeshError(error.code, `${error.message} (${store.place})`, { cause: error })
  }
}

const toText = (registry: Registry) => new Secret(formatRegistry(registry))

/**
 * Of one process. A change counts in memory at once (so nothing is used twice meanwhile); writes that wait are joined into
 * one. Memory may be ahead of the disk after a failed write: then a token is spent early, never twice.
 */
class OwnRecords implements Records {
  readonly #store: IdentityStore
  #registry: Registry = EMPTY_REGISTRY
  #running: Promise<void> = Promise.resolve()
  #queued: Promise<void> | undefined

  constructor(store: IdentityStore, registry: Registry) {
    this.#store = store
    this.#registry = registry
  }

  get(): Registry {
    return this.#registry
  }

  async refresh(): Promise<void> {}

  commit(change: (registry: Registry) => Registry): Promise<void> {
    this.#registry = change(this.#registry)
    this.#queued ??= this.#running.then(() => {
      this.#queued = undefined
      const written = this.#store.write(REGISTRY_FILE, toText(this.#registry))
      this.#running = written.catch(() => {})
      return written
    })
    return this.#queued
  }
}

/**
 * Of several processes. The store refuses a write that does not follow what this process read last, so that none undoes
 * what another has spent; whoever judges refreshes first. One thing at a time: each change is made of what is stored.
 */
class SharedRecords implements Records {
  readonly #store: IdentityStore
  #registry: Registry
  #tail: Promise<unknown> = Promise.resolve()

  constructor(store: IdentityStore, registry: Registry) {
    this.#store = store
    this.#registry = registry
  }

  get(): Registry {
    return this.#registry
  }

  refresh(): Promise<void> {
    return this.#inTurn(async () => {
      this.#registry = await readFrom(this.#store)
    })
  }

  commit(change: (registry: Registry) => Registry): Promise<void> {
    return this.#inTurn(async () => {
      const next = change(this.#registry)
      await this.#store.write(REGISTRY_FILE, toText(next))
      this.#registry = next
    })
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#tail.then(work)
    this.#tail = done.catch(() => {})
    return done
  }
}
