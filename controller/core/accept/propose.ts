/**
 * First half of acceptance: sets each object that the manifests name beside the one that is in force.
 * In: a reading and the accepted state. Out: one proposal per object, and every problem found so far.
 * Last good (DESIGN §1.3): what can't be read, is ambiguous or must not be deleted keeps its accepted version.
 */
import { formatRef, type Problem } from '../../../common/errors.ts'
import { remember, shareEqual } from '../../../common/remember.ts'
import type { PosternObject } from '../crd/index.ts'
import {
  type AcceptedObject,
  type AcceptedState,
  type Candidate,
  hashOf,
  isKind,
  keyOf,
  type ObjectKey,
  type Reading,
  refOfObject,
  type Seen,
} from './objects.ts'

export interface Proposal {
  readonly key: ObjectKey
  /** The manifests' version; absent when it is not usable, or gone. */
  readonly candidate?: Candidate
  readonly accepted?: AcceptedObject
  /** Why the accepted version stays though the manifests don't name it any more. */
  readonly retained?: Problem
  /** The manifests don't name it any more, so it goes, unless it must wait (hold.ts). Policies only. */
  readonly isDeleted?: true
}

export interface Proposals {
  /** Sorted by key. */
  readonly proposals: readonly Proposal[]
  readonly seen: ReadonlyMap<ObjectKey, Seen>
  readonly problems: readonly Problem[]
}

/** The injected world: nothing here asks a clock or a random source. */
export interface Fresh {
  /** RFC 3339. */
  readonly now: string
  readonly newUid: () => string
  /** Objects bring their own UID, generation and time. */
  readonly isExact?: boolean
}

const DEFAULT_CA = 'postern'

export function propose(reading: Reading, state: AcceptedState, fresh: Fresh): Proposals {
  const problems = [...reading.problems]
  problems.push(...reading.candidates.flatMap((c) => authorityChanged(c, state)))
  const refused = new Set(
    problems.flatMap((p) => (p.object === undefined ? [] : [formatRef(p.object)])),
  )
  const usable = new Map<ObjectKey, Candidate>()
  const seen = new Map<ObjectKey, Seen>()
  for (const candidate of reading.candidates) {
    const key = keyOf(candidate.object)
    if (refused.has(key)) continue
    const identity = identify(candidate.object, state.seen.get(key), fresh)
    seen.set(key, identity)
    usable.set(key, toUsable(candidate, identity))
  }
  const proposals = [...usable].map(([key, candidate]) =>
    toProposal(candidate, key, state.accepted.get(key)),
  )
  for (const [key, accepted] of state.accepted) {
    if (usable.has(key)) continue
    const kept = whyKept({ key, accepted, problems, refused, usable, state })
    if (kept === undefined) {
      if (isKind(accepted.object, 'AuthorizationPolicy'))
        proposals.push({ key, accepted, isDeleted: true })
      continue
    }
    if (kept.isNew) problems.push(kept.problem)
    proposals.push({ key, accepted, retained: kept.problem })
    const before = state.seen.get(key)
    if (before !== undefined) seen.set(key, before)
  }
  proposals.sort((a, b) => (a.key < b.key ? -1 : 1))
  return { proposals, seen, problems }
}

const toUsable = remember(
  (candidate: Candidate, seen: Seen): Candidate => ({
    ...candidate,
    object: withIdentity(candidate.object, seen),
  }),
)

const toProposal = remember(
  (candidate: Candidate, key: ObjectKey, accepted: AcceptedObject | undefined): Proposal => ({
    key,
    candidate,
    ...(accepted === undefined ? {} : { accepted }),
  }),
)

const hashOfSpec = remember((object: PosternObject) => hashOf(object.spec))

function identify(object: PosternObject, before: Seen | undefined, fresh: Fresh): Seen {
  const specHash = hashOfSpec(object)
  if (fresh.isExact === true) return ownIdentity(object, specHash, before)
  if (before === undefined) {
    return { uid: fresh.newUid(), generation: 1, specHash, creationTimestamp: fresh.now }
  }
  if (before.specHash === specHash) return before
  return { ...before, specHash, generation: before.generation + 1 }
}

function ownIdentity(object: PosternObject, specHash: string, before: Seen | undefined): Seen {
  const { uid = '', generation = 1, creationTimestamp = '' } = object.metadata
  return shareEqual(before, { uid, generation, specHash, creationTimestamp }) as Seen
}

function withIdentity(object: PosternObject, seen: Seen): PosternObject {
  const { uid, generation, creationTimestamp } = seen
  // Only metadata changes, so the object stays of its kind.
  return {
    ...object,
    metadata: { ...object.metadata, uid, generation, creationTimestamp },
  } as PosternObject
}

interface Absent {
  readonly key: ObjectKey
  readonly accepted: AcceptedObject
  readonly problems: readonly Problem[]
  readonly refused: ReadonlySet<ObjectKey>
  readonly usable: ReadonlyMap<ObjectKey, Candidate>
  readonly state: AcceptedState
}

/** The root of a running mesh is not exchanged by a reference: every sidecar would distrust every other at once. */
function authorityChanged(candidate: Candidate, state: AcceptedState): Problem[] {
  const before = state.accepted.get(keyOf(candidate.object))?.object
  if (!isKind(candidate.object, 'Mesh') || before === undefined || !isKind(before, 'Mesh'))
    return []
  const name = before.spec.certificateAuthorityRef?.name ?? DEFAULT_CA
  if ((candidate.object.spec.certificateAuthorityRef?.name ?? DEFAULT_CA) === name) return []
  const field = 'spec.certificateAuthorityRef.name'
  return [
    {
      code: 'ERR_NOT_ENFORCEABLE',
      object: refOfObject(candidate.object),
      field,
      message: `the certificate authority of a running mesh can't be exchanged; "${name}" stays in force`,
      remedy: `name "${name}" again`,
      source: candidate.locate(field),
    },
  ]
}

/** Undefined: it was deleted, and goes. `isNew`: nobody has named the problem yet. */
function whyKept(absent: Absent): { problem: Problem; isNew: boolean } | undefined {
  const { key, accepted, problems, refused } = absent
  if (refused.has(key)) {
    const own = problems.find((p) => p.object !== undefined && formatRef(p.object) === key)
    if (own !== undefined) return { problem: own, isNew: false }
  }
  const taint = problems.find((p) => isTaint(p, accepted.source.file, absent.state))
  if (taint !== undefined) return { problem: taint, isNew: false }
  if (isKind(accepted.object, 'Mesh')) return { problem: meshDeleted(accepted), isNew: true }
  if (isKind(accepted.object, 'CertificateAuthority') && isInUse(absent)) {
    return { problem: authorityDeleted(accepted), isNew: true }
  }
  return undefined
}

/**
 * Whether a problem makes it doubtful what `file` still says: it, or a folder above, can't be read; a document of it
 * names no object; or it names one that was never accepted, which may be this one under a new name.
 */
function isTaint(problem: Problem, file: string, state: AcceptedState): boolean {
  const where = problem.source?.file
  if (where === undefined) return false
  if (where === './') return true
  if (where.endsWith('/')) return file.startsWith(where)
  if (where !== file) return false
  return problem.object === undefined || !state.accepted.has(formatRef(problem.object))
}

/** Whether the Mesh, as the manifests have it or else as it is in force, names this authority. */
function isInUse(absent: Absent): boolean {
  const mesh =
    absent.usable.get('Mesh/mesh')?.object ?? absent.state.accepted.get('Mesh/mesh')?.object
  if (mesh === undefined || !isKind(mesh, 'Mesh')) return true
  const name = mesh.spec.certificateAuthorityRef?.name ?? DEFAULT_CA
  return absent.accepted.object.metadata.name === name
}

function meshDeleted(accepted: AcceptedObject): Problem {
  return {
    code: 'ERR_MESH_MISSING',
    object: refOfObject(accepted.object),
    field: '',
    message: 'the Mesh was deleted from the manifests; its last version stays in force',
    remedy: 'put it back; a mesh ends with its controller and state directory',
    source: accepted.source,
  }
}

function authorityDeleted(accepted: AcceptedObject): Problem {
  return {
    code: 'ERR_CA_DELETED',
    object: refOfObject(accepted.object),
    field: '',
    message:
      'the CertificateAuthority was deleted from the manifests, but the Mesh uses it; it stays in force',
    remedy: 'put it back',
    source: accepted.source,
  }
}
