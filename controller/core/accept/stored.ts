/**
 * What another version of the controller stored, as this one reads it: with the defaults of fields that came since.
 * In: a loaded state. Out: the state, and what in it this version doesn't know, one line each: with such a line nothing of
 * it may be served, since it may be what closes.
 */
import { readStored } from '../crd/index.ts'
import type { AcceptedObject, AcceptedState } from './objects.ts'

export function readStoredState(state: AcceptedState): {
  readonly state: AcceptedState
  readonly unknown: readonly string[]
} {
  const unknown: string[] = []
  const accepted = new Map<string, AcceptedObject>()
  for (const [key, entry] of state.accepted) {
    const read = readStored(entry.object)
    unknown.push(...read.unknown.map((path) => (path === '' ? key : `${key} ${path}`)))
    accepted.set(key, { ...entry, object: read.object })
  }
  return { state: { ...state, accepted }, unknown }
}
