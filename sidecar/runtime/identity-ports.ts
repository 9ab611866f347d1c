/**
 * What the sidecar's identity part asks of the outside, in domain words. Adapters implement these; main joins them.
 */
import type { KeyObject } from 'node:crypto'
import type { MeshError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'
import type { AttestAnswer } from '../core/identity/answer.ts'
import type { Svid } from '../ports.ts'

export interface SidecarKey {
  readonly privateKey: Secret<KeyObject>
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  /** ECDSA with SHA-256, DER. */
  sign(bytes: Uint8Array): Uint8Array
  /** PKCS#8, PEM: for a credential's key only. */
  toPem(): Secret<string>
}

export interface Keys {
  generate(): Promise<SidecarKey>
  /** Throws ERR_STATE_CORRUPT unless it is a P-256 private key. */
  fromPem(pem: Secret<string>): SidecarKey
}

/** One private file in the state folder. */
export interface IdentityState {
  /** Undefined when there is none. Throws ERR_STATE_CORRUPT (open to others, not readable). */
  load(): Promise<Secret<string> | undefined>
  /** Resolves when it is on the disk. Throws ERR_STATE_WRITE. */
  store(text: Secret<string>): Promise<void>
  /** Moves a damaged one out of the way, and says so. Throws ERR_STATE_WRITE. */
  setAside(): Promise<void>
}

/** What a controller must prove to be taken for one. */
export interface ControllerTrust {
  readonly trustDomain: string
  /** DER. */
  readonly roots: readonly Uint8Array[]
}

export interface AttestCall {
  readonly csr: Uint8Array
  readonly instanceId: string
  readonly proof:
    | { readonly kind: 'token'; readonly token: Secret<string>; readonly credentialCsr: Uint8Array }
    | {
        readonly kind: 'credential'
        readonly certificate: Uint8Array
        /** Signs the controller's nonce. */
        readonly proveBy: (nonce: Uint8Array) => Uint8Array
      }
    | { readonly kind: 'pod'; readonly token: Secret<string> }
}

/** The controller's CSR service. Errors: ERR_CONTROLLER_UNAVAILABLE, ERR_CONTROLLER_UNTRUSTED, or the controller's own. */
export interface ControllerClient {
  /** The root with this SHA-256, from a controller that proved to be signed by it. Sends nothing of ours. */
  fetchTrust(rootFingerprint: Uint8Array, signal: AbortSignal): Promise<ControllerTrust>
  /** `svid` is presented as client certificate. */
  attest(
    trust: ControllerTrust,
    call: AttestCall,
    options: { readonly svid: Svid | undefined; readonly signal: AbortSignal },
  ): Promise<AttestAnswer>
}

/** How the workload is proved: by a join token and what it bought, or as a pod. */
export interface WorkloadAttester {
  /** A new SVID, or one that was kept and is in force. Throws MeshError; what was stored before stays good. */
  attest(current: Svid | undefined, signal: AbortSignal): Promise<Svid>
  /** What a refused attempt was made with: when it is another, the next one need not wait. Never rejects. */
  proofText(): Promise<string>
  /** Roots that the controller distributes from now on, DER. Kept for the next start. */
  updateTrustBundle(trustBundle: readonly Uint8Array[]): Promise<void>
  /** Why what is known is not kept; undefined: it is. */
  storeProblem(): MeshError | undefined
  /** Tries once more to store what could not be stored. */
  storeAgain(): Promise<void>
}

/** The part of a pino logger that is used here. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
