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

export type Resources = ReadonlyMap<TypeUrl, ReadonlyMap<string, XdsResource>>

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
}

export function startStore(cached: Resources): XdsStore {
  const accepted = new Map<string, XdsResource>()
  for (const [typeUrl, resources] of cached)
    for (const resource of resources.values()) accepted.set(keyOf(typeUrl, resource.name), resource)
  return { offered: new Map(), accepted, refused: new Map() }
}

export function keyOf(typeUrl: string, name: string): string {
  return `${typeUrl} ${name}`
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
): XdsStore {
  const accepted = new Map(store.accepted)
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
  for (const [name, version] of versions) refused.set(keyOf(typeUrl, name), { version, message })
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

/** What Envoy is to have: what the controller sent, last good in place of refused, and the workload's own secret. */
export function effectiveSnapshot(
  desired: Resources,
  store: XdsStore,
  svidSecret: XdsResource | undefined,
): XdsSnapshot {
  const effective = new Map<TypeUrl, XdsResource[]>()
  for (const [typeUrl, resources] of desired) {
    const list: XdsResource[] = []
    for (const resource of resources.values()) {
      // The workload's certificate never comes from outside (DESIGN §1.2).
      if (isSvidSecret(typeUrl, resource.name)) continue
      const key = keyOf(typeUrl, resource.name)
      const refusedVersion = store.refused.get(key)?.version
      const good = resource.version === refusedVersion ? store.accepted.get(key) : resource
      if (good !== undefined && good.version !== refusedVersion) list.push(good)
    }
    effective.set(typeUrl, list)
  }
  if (svidSecret !== undefined)
    effective.set(TYPE_URLS.secret, [...(effective.get(TYPE_URLS.secret) ?? []), svidSecret])
  return toXdsSnapshot(effective)
}

/** Last good of everything that is still wanted: what the cache keeps. */
export function lastGood(desired: Resources, store: XdsStore): Resources {
  const good = new Map<TypeUrl, Map<string, XdsResource>>()
  for (const [typeUrl, resources] of desired) {
    const list = new Map<string, XdsResource>()
    for (const name of resources.keys()) {
      const resource = store.accepted.get(keyOf(typeUrl, name))
      if (resource !== undefined && !isSvidSecret(typeUrl, name)) list.set(name, resource)
    }
    if (list.size > 0) good.set(typeUrl, list)
  }
  return good
}

export function isSvidSecret(typeUrl: string, name: string): boolean {
  return typeUrl === TYPE_URLS.secret && name === SECRET_SVID
}
