/**
 * What Envoy said of each resource, over all its lives: the newest that it took, and what it refused.
 * From it and from what the controller sent follows what Envoy is served: the newest, or else the last good one.
 * Pure values; nothing here ever holds a private key except `effectiveSnapshot`'s result.
 */
import type { SendEffect } from '../../../common/delta-xds/server.ts'
import {
  SECRET_SVID,
  TYPE_URLS,
  type TypeUrl,
  type XdsResource,
  type XdsSnapshot,
} from '../../../common/xds.ts'
import { toXdsSnapshot } from '../../../common/xds-snapshot.ts'
import { type Kept, keptBeside, type Resources } from './kept.ts'
import { keyOf } from './key.ts'

export type { Resources } from './kept.ts'

export interface Refusal {
  readonly version: string
  readonly message: string
}

export interface XdsStore {
  /** Last sent to Envoy, by `type name`. */
  readonly offered: ReadonlyMap<string, XdsResource>
  /** Newest that Envoy ACKed, by `type name`. */
  readonly accepted: ReadonlyMap<string, XdsResource>
  /** Newest that Envoy NACKed, by `type name`. */
  readonly refused: ReadonlyMap<string, Refusal>
  /** No longer wanted, and left with Envoy until what came in its place is proven (kept.ts), by `type name`. */
  readonly kept: ReadonlyMap<string, Kept>
}

export function startStore(cached: Resources): XdsStore {
  const accepted = new Map<string, XdsResource>()
  for (const [typeUrl, resources] of cached)
    for (const resource of resources.values()) accepted.set(keyOf(typeUrl, resource.name), resource)
  return { offered: new Map(), accepted, refused: new Map(), kept: new Map() }
}

export function noteSent(store: XdsStore, sent: SendEffect): XdsStore {
  const offered = new Map(store.offered)
  for (const resource of sent.resources) offered.set(keyOf(sent.typeUrl, resource.name), resource)
  return { ...store, offered }
}

export function noteAcked(
  store: XdsStore,
  typeUrl: string,
  versions: ReadonlyMap<string, string>,
  removed: readonly string[] = [],
): XdsStore {
  const accepted = new Map(store.accepted)
  for (const name of removed) accepted.delete(keyOf(typeUrl, name))
  const refused = new Map(store.refused)
  for (const [name, version] of versions) {
    const key = keyOf(typeUrl, name)
    const resource = store.offered.get(key)
    if (resource?.version === version) accepted.set(key, resource)
    if (refused.get(key)?.version === version) refused.delete(key)
  }
  return { ...store, accepted, refused }
}

export function noteNacked(
  store: XdsStore,
  typeUrl: string,
  versions: ReadonlyMap<string, string>,
  message: string,
): XdsStore {
  const refused = new Map(store.refused)
  for (const [name, version] of versions) {
    const key = keyOf(typeUrl, name)
    // A last good that is refused too doesn't make the newest, refused before, worth another try.
    const isFallback = refused.has(key) && store.accepted.get(key)?.version === version
    if (!isFallback) refused.set(key, { version, message })
  }
  return { ...store, refused }
}

/** Envoy died of something that it never answered: everything new counts as refused, so that the last good is served. */
export function refuseUnanswered(store: XdsStore, desired: Resources, reason: string): XdsStore {
  const refused = new Map(store.refused)
  const message = `${EXITED}: ${reason}`
  for (const [typeUrl, resources] of desired) {
    for (const { name, version } of resources.values()) {
      const key = keyOf(typeUrl, name)
      if (store.accepted.get(key)?.version !== version) refused.set(key, { version, message })
    }
  }
  return { ...store, refused }
}

/** A new Envoy process may take what the last one refused: it is asked once more. */
export function forgetRefusals(store: XdsStore): XdsStore {
  return { ...store, refused: new Map() }
}

/** A refusal whose reason may pass by itself: an address that is in use may be free a little later. */
const TRANSIENT = /cannot bind|already in use/i
const EXITED = 'envoy exited'

/** Refused names by type whose reason may have passed. */
export function transientRefusals(store: XdsStore): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const [key, { message }] of store.refused) {
    // Where there is no last good to fall back on, nothing is lost by another try.
    const isHopeless = message.startsWith(EXITED) && !store.accepted.has(key)
    if (!TRANSIENT.test(message) && !isHopeless) continue
    const [typeUrl = '', ...name] = key.split(' ')
    found.set(typeUrl, [...(found.get(typeUrl) ?? []), name.join(' ')])
  }
  return found
}

export function forgetRefusalsOf(
  store: XdsStore,
  typeUrl: string,
  names: readonly string[],
): XdsStore {
  const keys = new Set(names.map((name) => keyOf(typeUrl, name)))
  return { ...store, refused: new Map([...store.refused].filter(([key]) => !keys.has(key))) }
}

/**
 * What Envoy is to have: what the controller sent, last good in place of refused, what is kept beside it, and the
 * workload's own secret. The last good stays though it was refused once more: Envoy keeps what it has of it.
 */
export function effectiveSnapshot(
  desired: Resources,
  store: XdsStore,
  svidSecret: XdsResource | undefined,
): XdsSnapshot {
  const effective = new Map<TypeUrl, XdsResource[]>()
  const add = (typeUrl: TypeUrl, list: readonly XdsResource[]) => {
    // The workload's certificate never comes from outside (DESIGN §1.2).
    const own = list.filter(({ name }) => !isSvidSecret(typeUrl, name))
    effective.set(typeUrl, [...(effective.get(typeUrl) ?? []), ...own])
  }
  for (const [typeUrl, resources] of desired)
    add(
      typeUrl,
      [...resources.values()].flatMap((resource) => goodOf(store, typeUrl, resource) ?? []),
    )
  const listeners = effective.get(TYPE_URLS.listener) ?? []
  for (const { typeUrl, resource } of keptBeside(store, listeners)) add(typeUrl, [resource])
  if (svidSecret !== undefined)
    effective.set(TYPE_URLS.secret, [...(effective.get(TYPE_URLS.secret) ?? []), svidSecret])
  return toXdsSnapshot(effective)
}

/** The resource itself, or the last good one if Envoy refused it. */
function goodOf(
  { accepted, refused }: XdsStore,
  typeUrl: TypeUrl,
  resource: XdsResource,
): XdsResource | undefined {
  const key = keyOf(typeUrl, resource.name)
  return resource.version === refused.get(key)?.version ? accepted.get(key) : resource
}

/** Last good of everything that is still wanted or kept: what the cache keeps. */
export function lastGood(desired: Resources, store: XdsStore): Resources {
  const good = new Map<TypeUrl, Map<string, XdsResource>>()
  for (const [typeUrl, resources] of desired) {
    const list = new Map<string, XdsResource>()
    for (const name of resources.keys()) {
      const resource = store.accepted.get(keyOf(typeUrl, name))
      if (resource !== undefined && !isSvidSecret(typeUrl, name)) list.set(name, resource)
    }
    for (const one of store.kept.values())
      if (one.typeUrl === typeUrl) list.set(one.resource.name, one.resource)
    if (list.size > 0) good.set(typeUrl, list)
  }
  return good
}

export function isSvidSecret(typeUrl: string, name: string): boolean {
  return typeUrl === TYPE_URLS.secret && name === SECRET_SVID
}
