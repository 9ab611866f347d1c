/**
 * What the controller's identity part asks of the outside, in domain words. Adapters implement these; main joins them.
 */
import type { KeyObject } from 'node:crypto'
import type { Secret } from '../../../common/secret.ts'
import type { Signer } from '../../core/ca/signer.ts'

/** A P-256 key pair whose private half stays wrapped. */
export interface SigningKey extends Signer {
  readonly privateKey: Secret<KeyObject>
  /** PKCS#8, PEM. For the CA's own keys only: no workload's key ever comes here. */
  toPem(): Secret<string>
}

export interface Keys {
  generate(): Promise<SigningKey>
  /** Throws ERR_STATE_CORRUPT unless it is a P-256 private key. */
  fromPem(pem: Secret<string>): SigningKey
}

/** What several controllers share: any of them may find that another one wrote. */
export interface SharedKeys {
  /** Whether this process may make the keys now: of several, one. */
  mayCreate(): boolean
  /** DER roots that were given out, by whichever process; undefined: never any, so that there was no authority yet. */
  givenOut(): readonly Uint8Array[] | undefined
  /** PEM of further roots to trust, while one authority takes the place of another; empty: none. */
  otherRoots(): Promise<string>
  /** Called after anything may have changed. */
  onChange(listener: () => void): void
}

/** A folder of private files (0600), all made at once. Every error is a MeshError with the file's name and a remedy. */
export interface IdentityStore {
  /** Where it is, for messages. */
  readonly place: string
  /** What to do when it is lost or damaged: an imperative sentence. */
  readonly remedy: string
  /** Absent: it is this process's alone. */
  readonly shared?: SharedKeys
  /** Whether the folder is there; then it must be complete. */
  exists(): Promise<boolean>
  /** Makes the folder with all these files, or nothing; leaves alone what another made meanwhile. */
  create(files: ReadonlyMap<string, Secret<string>>): Promise<void>
  /** Throws ERR_STATE_CORRUPT when the file is missing, readable by others, or larger than it can be. */
  read(name: string): Promise<Secret<string>>
  /** Resolves when the new content is on the disk (file and folder synced); replaces the old one atomically. */
  write(name: string, content: Secret<string>): Promise<void>
}

/** What the model says about certificates. Undefined while there is no model. */
export interface IdentitySettings {
  readonly trustDomain: string
  readonly svidLifetimeSeconds: number
  readonly maxSvidLifetimeSeconds: number
}

/** A workload as attestation needs it. */
export interface AttestedWorkload {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly spiffeId: string
}

export interface WorkloadDirectory {
  settings(): IdentitySettings | undefined
  /** By `{uid}` or by `{key: 'namespace/name'}`, from the current model. */
  workloadOf(
    query: { readonly uid: string } | { readonly key: string },
  ): AttestedWorkload | undefined
}

/** A pod as its token says that it is. */
export interface TokenOwner {
  readonly namespace: string
  readonly serviceAccount: string
  readonly podName: string
  readonly podUid: string
  /** Of the node that the token was made for; empty: none is named. */
  readonly nodeName: string
}

/** What the API server says of pods and their tokens. */
export interface PodWitness {
  /**
   * Whose token it is, for the audience `postern-ca`. Undefined: nobody's (any more), another audience's, or that of no
   * pod. `unanswered`: the API server is away. Throws ERR_CA_NOT_READY when it answers something else.
   */
  review(token: Secret<string>): Promise<TokenOwner | 'unanswered' | undefined>
  /** The pod as it is known now. Addresses are canonical. */
  podOf(uid: string):
    | {
        readonly addresses: readonly string[]
        readonly isTerminating: boolean
        /** Empty: it has none yet. */
        readonly nodeName: string
      }
    | undefined
  /** Whether a pod is known that has this address, as its own. */
  isPodAddress(address: string): boolean
}

/** Whether another sidecar process of this workload answers now (CONTRACT §wire 3: within 2 s). */
export type IsLive = (workloadUid: string, exceptInstanceId: string) => Promise<boolean>

/** The part of a pino logger that is used here. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Cryptographic randomness: `count` bytes. */
export type RandomBytes = (count: number) => Uint8Array
