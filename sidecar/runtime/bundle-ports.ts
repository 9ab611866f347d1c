/** What the bundle loop asks of the outside. Adapters implement these; main joins them. */

export type BundleAnswer =
  /** What `etag` names is still the newest; `withheld` says what we lack for the one that would be. */
  | { readonly kind: 'unchanged'; readonly withheld?: string; readonly skewMs?: number }
  /** The SVID was renewed meanwhile; nothing was said. */
  | { readonly kind: 'interrupted' }
  | {
      readonly kind: 'bundle'
      readonly archive: Uint8Array
      readonly etag: string | undefined
      /** As far as the controller's clock is ahead of ours, to about a second. */
      readonly skewMs?: number
      /** Tokens of common/features.ts that the controller knows; none for 0.1. */
      readonly features: readonly string[]
    }

export interface BundleSource {
  /**
   * Asks the controller once; waits there up to `waitSeconds` for a change.
   * Errors: MeshErrors ERR_CONTROLLER_UNAVAILABLE, ERR_CONTROLLER_UNTRUSTED, ERR_PEER_FORBIDDEN, ERR_BUNDLE_INVALID.
   */
  fetch(request: {
    readonly etag: string | undefined
    readonly waitSeconds: number
    readonly signal: AbortSignal
  }): Promise<BundleAnswer>
}

export interface BundleStore {
  /** The archive that was saved last; undefined: none. */
  load(): Promise<Uint8Array | undefined>
  /** Resolves when it is on the disk; never leaves half an archive. */
  save(archive: Uint8Array): Promise<void>
}
