/** A signing key as the core sees it: its public half and a way to sign. Adapters hold the private half. */

export interface Signer {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  /** ECDSA with SHA-256, as a DER SEQUENCE of r and s (RFC 3279 §2.2.3). */
  sign(bytes: Uint8Array): Promise<Uint8Array>
}
