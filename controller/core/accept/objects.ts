/**
 * What acceptance works on: candidates (what the manifests say now) and accepted objects (what is in force).
 * Immutable values; keys are `Kind/namespace/name` (formatRef).
 */
import { canonicalJson, sha256Hex } from '../../../common/bundle.ts'
import {
  formatRef,
  type ObjectRef,
  type Problem,
  type SourceLocation,
} from '../../../common/errors.ts'
import type { Kind, ObjectOfKind, PosternObject } from '../crd/index.ts'
import type { ModulePlace } from '../rego/attribute.ts'

export type ObjectKey = string

/** One valid object as it stands in the manifests. */
export interface Candidate {
  /** Defaults applied; metadata as the controller counts it (uid, generation, creationTimestamp). */
  readonly object: PosternObject
  readonly source: SourceLocation
  /** Where a field stands; `inText` counts lines and columns inside a text field. */
  readonly locate: (field: string, inText?: ModulePlace) => SourceLocation
}

/** What a policy's Rego became; stored with it, so that last good needs no compiler. */
export interface Artifact {
  readonly unitDigest: string
  readonly entrypoint: string
  readonly wasmDigest: string
  readonly readsBody: boolean
  /** Slash paths of its rules. Absent: stored by an earlier version. */
  readonly rules?: readonly string[]
  readonly data: unknown
}

export interface AcceptedObject {
  readonly object: PosternObject
  /** File and document that it came from last. */
  readonly source: SourceLocation
  readonly artifact?: Artifact
}

/** What outlives an object's edits, accepted or not. */
export interface Seen {
  readonly uid: string
  /** Counts changes of the spec, from 1. */
  readonly generation: number
  /** Hash of the newest valid spec. */
  readonly specHash: string
  /** RFC 3339. */
  readonly creationTimestamp: string
}

export interface AcceptedState {
  readonly accepted: ReadonlyMap<ObjectKey, AcceptedObject>
  readonly seen: ReadonlyMap<ObjectKey, Seen>
}

export const NOTHING_ACCEPTED: AcceptedState = { accepted: new Map(), seen: new Map() }

/** What the manifests folder says, read and validated. */
export interface Reading {
  readonly candidates: readonly Candidate[]
  /** `source.file` ending in `/` means everything below it, `./` the whole folder. */
  readonly problems: readonly Problem[]
}

export function refOfObject(object: PosternObject): ObjectRef {
  const { name, namespace } = object.metadata
  const { kind } = object
  return namespace === undefined ? { kind, name } : { kind, namespace, name }
}

export function keyOf(object: PosternObject): ObjectKey {
  return formatRef(refOfObject(object))
}

export function isKind<K extends Kind>(object: PosternObject, kind: K): object is ObjectOfKind[K] {
  return object.kind === kind
}

export function hashOf(value: unknown): string {
  return sha256Hex(canonicalJson(value))
}
