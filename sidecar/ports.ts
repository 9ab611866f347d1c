/**
 * The joints inside the sidecar's main thread, in domain words. `main.ts` joins the implementations.
 */
import type { KeyObject } from 'node:crypto'
import type { Secret } from '../common/secret.ts'

/** The workload's X.509-SVID. The key exists in memory only (DESIGN §1.2). */
export interface Svid {
  readonly spiffeId: string
  readonly workload: { readonly namespace: string; readonly name: string; readonly uid: string }
  /** DER, leaf first, without the root. */
  readonly certificateChain: readonly Uint8Array[]
  readonly privateKey: Secret<KeyObject>
  /** DER roots that came with it. */
  readonly trustBundle: readonly Uint8Array[]
  /** Lower-case hex. */
  readonly serialNumber: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

export interface IdentitySource {
  current(): Svid | undefined
  /** Called at once with the current SVID, if there is one, and at every renewal. */
  subscribe(listener: (svid: Svid) => void): () => void
}

/** The check worker as the main thread sees it. */
export interface CheckWorker {
  /** Resolves when the worker answers from this bundle (a verified, unpacked archive's bytes). Rejects with ERR_BUNDLE_INVALID and keeps the old one. */
  activate(bundle: { readonly revision: string; readonly archive: Uint8Array }): Promise<void>
  /** Revision that answers now; undefined: none, everything that comes by ext_authz is denied. */
  activeRevision(): string | undefined
  /** False while its thread is being replaced. */
  isAnswering(): boolean
  onChange(listener: () => void): () => void
}

/** Envoy as its parent sees it. */
export interface EnvoyState {
  readonly running: boolean
  readonly live: boolean
  readonly version: string
  readonly warming: number
  readonly draining: number
}
