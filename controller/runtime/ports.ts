/**
 * What the controller's runtime asks of the outside, in domain words. Adapters implement these; main joins them.
 */
import type { Problem } from '../../common/errors.ts'
import type { XdsSnapshot } from '../../common/xds.ts'
import type { AcceptedState } from '../core/accept/objects.ts'
import type { Model } from '../core/model/mesh.ts'
import type { ConditionTimes } from '../core/status/conditions.ts'
import type { ClusterFacts } from '../core/translate/cluster.ts'

/** One file of the manifests folder. Paths are relative to the folder, with `/`. */
export type ManifestFile =
  | { readonly path: string; readonly text: string }
  | { readonly path: string; readonly unreadable: string }

export interface ManifestSource {
  /** All files, sorted by path. Editors' temporary files are left out. */
  read(signal: AbortSignal): Promise<readonly ManifestFile[]>
  /** Calls `onChange` (coalesced) after anything in the folder changed; returns the way to stop. */
  watch(onChange: () => void): Promise<() => Promise<void>>
  /** What is not there was deleted, and each object brings its UID and generation: the API server says so. */
  readonly isExact?: true
}

/** Pods and Services as they are now. */
export interface ClusterSource {
  cluster(): ClusterFacts
}

/** Everything that decides what a Rego policy compiles to. Equal units have equal digests and are compiled once. */
export interface RegoUnit {
  /** Lower-case hex SHA-256 over all other fields. */
  readonly digest: string
  /** Slash path of the entrypoint rule. */
  readonly entrypoint: string
  readonly regoVersion: 'V0' | 'V1'
  /** Name (shown in errors) and text of each module; sorted by name. */
  readonly modules: readonly { readonly name: string; readonly text: string }[]
}

export type CompileResult =
  | {
      readonly ok: true
      readonly wasm: Uint8Array
      /** Lower-case hex SHA-256 of `wasm`. */
      readonly wasmDigest: string
      /** Whether evaluation may read the request's body; true when in doubt. */
      readonly readsBody: boolean
      /** Slash paths of its rules, sorted. */
      readonly rules: readonly string[]
    }
  | { readonly ok: false; readonly problems: readonly Problem[] }

export interface RegoCompiler {
  compile(unit: RegoUnit, signal: AbortSignal): Promise<CompileResult>
}

/** What one workload's sidecar is served by the OPA bundle API. */
export interface PolicyBundle {
  /** UID of the workload that is entitled to it. */
  readonly workloadUid: string
  /** `namespace/name`; the bundle's URL path is `/bundles/<namespace>/<name>`. */
  readonly workload: string
  /** Content hash; the ETag is this in double quotes. */
  readonly revision: string
  /** The gzip-compressed tar. */
  readonly pack: () => Promise<Uint8Array>
  /** Tokens of common/features.ts that a sidecar must have named to be given it. Absent: none. */
  readonly requires?: readonly string[]
}

export interface Publisher {
  /** Replaces everything that is served. Keys are xDS node ids (`namespace/name/uid`). Never partial. */
  publish(generation: {
    readonly snapshots: ReadonlyMap<string, XdsSnapshot>
    readonly bundles: ReadonlyMap<string, PolicyBundle>
  }): void
}

/** What is known of one connected proxy; feeds status. */
export interface ProxyState {
  readonly nodeId: string
  readonly connected: boolean
  readonly enforcedGeneration: string
  readonly bundleRevision: string
  readonly ready: boolean
  readonly detail: string
  /** The sidecar's version; empty: not told yet, or not connected. */
  readonly version: string
  /** Empty: not told. */
  readonly envoyVersion: string
  /** When the certificate that the proxy uses ends, epoch milliseconds; 0: not told. */
  readonly svidNotAfterMs: number
  /** Tokens of common/features.ts that it named; none is 0.1. */
  readonly features: readonly string[]
  /** The xDS generation that it has ACKed as a whole; empty: none. An ACK is not enforcement. */
  readonly ackedGeneration: string
  /** What it refuses, in its own words, until each resource is ACKed or gone. */
  readonly nacks: readonly {
    readonly typeUrl: string
    readonly names: readonly string[]
    readonly message: string
  }[]
}

export interface ProxyRegistry {
  list(): readonly ProxyState[]
  onChange(listener: () => void): () => void
}

export interface LoadedGeneration {
  /** The newest generation that is whole; absent: none. */
  readonly state: AcceptedState | undefined
  /** Every module that the state names, by digest. */
  readonly wasm: ReadonlyMap<string, Uint8Array>
  /** Newer generations that are damaged, and how. */
  readonly faults: readonly string[]
}

/** What was accepted outlives the process (DESIGN §1.3). */
export interface GenerationStore {
  load(): Promise<LoadedGeneration>
  /** What another replica stored since this one loaded, saved or asked. Absent: there is no other. */
  newer?(): Promise<LoadedGeneration | undefined>
  /**
   * Resolves when it is on disk; with false when it is another replica's to store. `wasm` holds at least what the state
   * names. Errors: ERR_STATE_WRITE.
   */
  save(state: AcceptedState, wasm: ReadonlyMap<string, Uint8Array>): Promise<boolean>
}

/** When each condition took its status: outlives the process, and nothing depends on it. */
export interface ConditionStore {
  /** Empty when there is nothing, or nothing that can be read. */
  load(): Promise<ConditionTimes>
  /** Errors: ERR_STATE_WRITE. */
  save(times: ConditionTimes): Promise<void>
}

/** The certificate authority as reconciling needs it. */
export interface Authority {
  /**
   * Makes the keys that the model's CertificateAuthority asks for, where there never were any. Comes before the first
   * generation with a model is stored: one without keys means that they were lost. Resolves with false when another
   * replica is to make them. Errors: ERR_STATE_WRITE, ERR_STATE_CORRUPT.
   */
  create(model: Model): Promise<boolean>
  /** Opens the keys; resolves with the trust bundle (DER roots). Errors: ERR_STATE_CORRUPT. */
  ensure(model: Model): Promise<readonly Uint8Array[]>
}

/** The part of a pino logger that is used here. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
