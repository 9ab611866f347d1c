/**
 * The registry in memory and on disk. A change counts in memory at once (so nothing is used twice meanwhile) and its
 * promise resolves when a write that contains it is on the disk; writes that wait are joined into one.
 * Memory may be ahead of the disk after a failed write: then a token is spent early, never twice.
 */

import { Secret } from '../../../common/secret.ts'
import { EMPTY_REGISTRY, type Registry } from '../../core/ca/registry.ts'
import { formatRegistry, parseRegistry } from '../../core/ca/registry-text.ts'
import { REGISTRY_FILE } from './authority.ts'
import type { IdentityStore } from './ports.ts'

export class Records {
  readonly #store: IdentityStore
  #registry: Registry = EMPTY_REGISTRY
  #running: Promise<void> = Promise.resolve()
  #queued: Promise<void> | undefined

  private constructor(store: IdentityStore, registry: Registry) {
    this.#store = store
    this.#registry = registry
  }

  /** Throws ERR_STATE_CORRUPT. */
  static async open(store: IdentityStore): Promise<Records> {
    const text = await store.read(REGISTRY_FILE)
    return new Records(store, parseRegistry(text.reveal()))
  }

  get(): Registry {
    return this.#registry
  }

  /** Rejects with ERR_STATE_WRITE. */
  commit(change: (registry: Registry) => Registry): Promise<void> {
    this.#registry = change(this.#registry)
    this.#queued ??= this.#running.then(() => {
      this.#queued = undefined
      const written = this.#store.write(REGISTRY_FILE, new Secret(formatRegistry(this.#registry)))
      this.#running = written.catch(() => {})
      return written
    })
    return this.#queued
  }
}
