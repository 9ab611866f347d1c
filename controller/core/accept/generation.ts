/**
 * A stored generation as text: accepted objects with their artifacts, and what was seen. Protected by its own digest.
 * In and out: AcceptedState. A text whose digest or form is wrong reads as a reason, never as half a state.
 */
import { canonicalJson, sha256Hex } from '../../../common/bundle.ts'
import { remember } from '../../../common/remember.ts'
import type { AcceptedObject, AcceptedState, ObjectKey, Seen } from './objects.ts'

/** Counted up when the form changes; others are refused. */
const FORMAT = 1

export interface StoredGeneration {
  /** Counts stored generations, from 1. */
  readonly sequence: number
  readonly state: AcceptedState
}

interface Document {
  readonly format: number
  readonly sequence: number
  readonly accepted: readonly (readonly [ObjectKey, AcceptedObject])[]
  readonly seen: readonly (readonly [ObjectKey, Seen])[]
}

/**
 * First line: lower-case hex SHA-256 of the rest. The rest: canonical JSON. Written of the objects' texts, each made
 * once: an edit of one of thousands costs the text of one.
 */
export function encodeGeneration({ sequence, state }: StoredGeneration): string {
  const accepted = joinEntries(state.accepted)
  const seen = joinEntries(state.seen)
  const json = `{"accepted":[${accepted}],"format":${FORMAT},"seen":[${seen}],"sequence":${sequence}}`
  return `${sha256Hex(json)}\n${json}`
}

/** Whether the stored texts of both would be equal, but for their sequence. */
export function isSameState(a: AcceptedState, b: AcceptedState): boolean {
  return isSameMap(a.accepted, b.accepted) && isSameMap(a.seen, b.seen)
}

const textOf = remember((value: AcceptedObject | Seen) => canonicalJson(value))

function joinEntries(entries: ReadonlyMap<ObjectKey, AcceptedObject | Seen>): string {
  return [...entries]
    .sort(byKey)
    .map(([key, value]) => `[${JSON.stringify(key)},${textOf(value)}]`)
    .join(',')
}

function isSameMap<V extends AcceptedObject | Seen>(
  a: ReadonlyMap<ObjectKey, V>,
  b: ReadonlyMap<ObjectKey, V>,
): boolean {
  if (a.size !== b.size) return false
  for (const [key, value] of a) {
    const other = b.get(key)
    if (other === undefined || (value !== other && textOf(value) !== textOf(other))) return false
  }
  return true
}

/** The generation, or why it can't be read. */
export function decodeGeneration(text: string): StoredGeneration | string {
  const end = text.indexOf('\n')
  const json = text.slice(end + 1)
  if (end < 0 || text.slice(0, end) !== sha256Hex(json)) return 'its digest is wrong'
  const document = JSON.parse(json) as Document
  if (document.format !== FORMAT) return `its format ${document.format} is of another version`
  return {
    sequence: document.sequence,
    state: { accepted: new Map(document.accepted), seen: new Map(document.seen) },
  }
}

/** Digests of all WASM modules that the state needs, sorted, each once. */
export function wasmDigests(state: AcceptedState): string[] {
  const digests = [...state.accepted.values()].flatMap(({ artifact }) =>
    artifact === undefined ? [] : [artifact.wasmDigest],
  )
  return [...new Set(digests)].sort()
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0
}
