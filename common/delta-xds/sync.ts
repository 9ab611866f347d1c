/**
 * How far a client is with each resource type, for people: `postern proxy status`. In: the server side of its stream.
 * Out: a word for each type of the snapshot. Looks only; `server.ts` decides what is sent.
 */
import { dueOf, hasRefused, resourcesOf } from './due.ts'
import type { ServerState } from './server.ts'

/** `NOT SENT`: the client did not ask for the type, or has got nothing of it yet. `STALE`: a newer one is on its way. */
export type SyncStatus = 'SYNCED' | 'STALE' | 'NOT SENT' | 'NACKED'

export function syncOf({ snapshot, subscriptions }: ServerState): ReadonlyMap<string, SyncStatus> {
  const all = new Map<string, SyncStatus>()
  if (snapshot === undefined) return all
  for (const typeUrl of snapshot.resources.keys()) {
    const subscription = subscriptions.get(typeUrl)
    const resources = resourcesOf(snapshot, typeUrl)
    if (subscription === undefined) {
      all.set(typeUrl, 'NOT SENT')
      continue
    }
    const { changed, absent, gone } = dueOf(subscription, resources)
    const isWaiting = subscription.outstanding !== undefined
    const isDue = changed.length + absent.length + gone.length > 0
    if (hasRefused(subscription, resources)) all.set(typeUrl, 'NACKED')
    else if (isWaiting || (isDue && subscription.held.size > 0)) all.set(typeUrl, 'STALE')
    else all.set(typeUrl, isDue ? 'NOT SENT' : 'SYNCED')
  }
  return all
}
