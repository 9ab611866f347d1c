/**
 * What one client of a delta-xDS stream wants and has of one resource type, and what follows from its requests.
 * Pure values and functions; `server.ts` decides from them what is sent.
 * Source: xDS protocol, "Incremental xDS" and "How the client specifies what resources to return".
 */

import { Names } from './names.ts'

/** One response on the wire, until (`outstanding`) or after (`answered`) the client's verdict. */
export interface Sent {
  readonly nonce: string
  readonly versions: ReadonlyMap<string, string>
  readonly removed: readonly string[]
}

export interface Subscription {
  readonly wildcard: boolean
  /** No name was ever asked for on this stream: a request without any still means everything (legacy form). */
  readonly isLegacy: boolean
  /** Names asked for explicitly, whether they exist or not. */
  readonly names: Names
  /** Name → version that the client has. */
  readonly held: ReadonlyMap<string, string>
  /** Name → version that the client refused; not sent again until it changes. */
  readonly rejected: ReadonlyMap<string, string>
  /** Names to be answered whatever the client has: it may have forgotten them. */
  readonly asked: Names
  /** Names of a refused response of several resources: each is tried once more, alone. */
  readonly suspects: ReadonlySet<string>
  /** A first wildcard request is answered even when there is nothing: Envoy's start waits for it. */
  readonly owesFirst: boolean
  readonly outstanding: Sent | undefined
  readonly answered: (Sent & { readonly accepted: boolean }) | undefined
}

export interface SubscriptionChange {
  readonly subscribe: readonly string[]
  readonly unsubscribe: readonly string[]
  readonly initialVersions: ReadonlyMap<string, string>
}

export const WILDCARD = '*'

/** Most are empty most of the time, and a controller has dozens for each proxy: all empty ones are one. */
const NO_VERSIONS: ReadonlyMap<string, string> = new Map()
const NO_NAMES: ReadonlySet<string> = new Set()

/** The subscription after the first request of a type on a stream; no names at all mean everything (legacy form). */
export function firstSubscription(change: SubscriptionChange): Subscription {
  const legacy = change.subscribe.length === 0 && change.unsubscribe.length === 0
  const names = Names.of(change.subscribe.filter((name) => name !== WILDCARD))
  const wildcard = legacy || change.subscribe.includes(WILDCARD)
  const known = [...change.initialVersions].filter(([name]) => wildcard || names.has(name))
  return {
    wildcard,
    isLegacy: change.subscribe.length === 0,
    names,
    held: known.length === 0 ? NO_VERSIONS : new Map(known),
    rejected: NO_VERSIONS,
    asked: names.filter((name) => !change.initialVersions.has(name)),
    suspects: NO_NAMES,
    owesFirst: wildcard && known.length === 0,
    outstanding: undefined,
    answered: undefined,
  }
}

/** Applies a later request. Names that are subscribed again are answered again; unknown unsubscriptions are ignored. */
export function changeSubscription(before: Subscription, change: SubscriptionChange): Subscription {
  if (change.subscribe.length === 0 && change.unsubscribe.length === 0) return takeLegacy(before)
  let { wildcard, owesFirst, names, asked } = before
  for (const name of change.unsubscribe) {
    if (name === WILDCARD) wildcard = false
    else if (names.has(name)) {
      names = names.without(name)
      asked = asked.with(name)
    }
  }
  for (const name of change.subscribe) {
    if (name !== WILDCARD) {
      names = names.with(name)
      asked = asked.with(name)
    } else if (!wildcard) {
      wildcard = true
      owesFirst = true
    }
  }
  const isLegacy =
    before.isLegacy && change.subscribe.length === 0 && !change.unsubscribe.includes(WILDCARD)
  const after = { ...before, wildcard, isLegacy, owesFirst: owesFirst && wildcard, names, asked }
  return dropUnwanted(after, change.unsubscribe)
}

/** Of what was unsubscribed nothing is remembered that nobody wants; a request that names one costs no more for others. */
function dropUnwanted(after: Subscription, unsubscribed: readonly string[]): Subscription {
  if (unsubscribed.includes(WILDCARD)) {
    const wanted = (name: string) => isWanted(after, name)
    return {
      ...after,
      held: filterMap(after.held, wanted),
      rejected: filterMap(after.rejected, wanted),
      asked: after.asked.filter(wanted),
      suspects: filterSet(after.suspects, wanted),
    }
  }
  const gone = unsubscribed.filter((name) => !isWanted(after, name))
  if (gone.length === 0) return after
  const { held, rejected, suspects } = after
  const dropped = new Set(gone)
  return {
    ...after,
    held: without(held, gone),
    rejected: without(rejected, gone),
    asked: gone.reduce((left, name) => left.without(name), after.asked),
    suspects: filterSet(suspects, (name) => !dropped.has(name)),
  }
}

/** The map itself when it has none of them. */
function without<V>(map: ReadonlyMap<string, V>, names: readonly string[]): ReadonlyMap<string, V> {
  const here = names.filter((name) => map.has(name))
  if (here.length === 0) return map
  const left = new Map(map)
  for (const name of here) left.delete(name)
  return left
}

/** A request without names: everything, as long as none was ever named. */
function takeLegacy(before: Subscription): Subscription {
  if (!before.isLegacy || before.wildcard) return before
  return { ...before, wildcard: true, owesFirst: true }
}

/** The client took the response: it has these versions, and the removed names are gone. */
export function accept(before: Subscription, sent: Sent): Subscription {
  const isOpen = (name: string) => !sent.versions.has(name)
  const removed = new Set(sent.removed)
  const isLeft = (name: string) => isOpen(name) && !removed.has(name)
  return {
    ...before,
    held: heldAfter(before, sent),
    rejected: filterMap(before.rejected, isLeft),
    suspects: filterSet(before.suspects, isOpen),
  }
}

/** Mostly all that was sent is all that there is: then the response's own map is shared. */
function heldAfter(before: Subscription, { versions, removed }: Sent): Subscription['held'] {
  const names = [...versions.keys()]
  const isAll =
    removed.length === 0 &&
    names.every((name) => isWanted(before, name)) &&
    [...before.held.keys()].every((name) => versions.has(name))
  if (isAll) return versions
  const held = new Map(before.held)
  for (const [name, version] of versions) if (isWanted(before, name)) held.set(name, version)
  for (const name of removed) held.delete(name)
  return held
}

/** The client refused the response: these versions wait until they change. */
export function refuse(before: Subscription, sent: Sent): Subscription {
  const after = accept(before, { ...sent, versions: new Map() })
  const rejected = new Map(after.rejected)
  const suspects = new Set(after.suspects)
  for (const [name, version] of sent.versions) {
    suspects.delete(name)
    if (isWanted(before, name)) rejected.set(name, version)
  }
  return { ...after, rejected, suspects }
}

/** The client refused a response of several: each of them is to be tried alone. */
export function suspect(before: Subscription, sent: Sent): Subscription {
  const suspects = new Set(before.suspects)
  for (const name of sent.versions.keys()) if (isWanted(before, name)) suspects.add(name)
  return { ...accept(before, { ...sent, versions: new Map() }), suspects }
}

/** Refused names are sent once more, as if they had been asked for. */
export function askAgain(before: Subscription, names: readonly string[]): Subscription {
  const rejected = new Map(before.rejected)
  let { asked } = before
  for (const name of names) if (rejected.delete(name)) asked = asked.with(name)
  return { ...before, rejected, asked }
}

/** Names that the client has are sent once more, whatever their version. */
export function oweAgain(before: Subscription, names: readonly string[]): Subscription {
  const again = names.filter(
    (name) => before.held.has(name) || before.outstanding?.versions.has(name),
  )
  if (again.length === 0) return before
  return { ...before, asked: again.reduce((asked, name) => asked.with(name), before.asked) }
}

export function isWanted(subscription: Subscription, name: string): boolean {
  return subscription.wildcard || subscription.names.has(name)
}

function filterMap(
  map: ReadonlyMap<string, string>,
  keep: (name: string) => boolean,
): ReadonlyMap<string, string> {
  const left = [...map].filter(([name]) => keep(name))
  if (left.length === map.size) return map
  return left.length === 0 ? NO_VERSIONS : new Map(left)
}

function filterSet(
  names: ReadonlySet<string>,
  keep: (name: string) => boolean,
): ReadonlySet<string> {
  const left = [...names].filter(keep)
  if (left.length === names.size) return names
  return left.length === 0 ? NO_NAMES : new Set(left)
}
