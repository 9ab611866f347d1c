/**
 * Make before break across an edit: a listener that the controller takes away stays with Envoy until those that came in
 * its place are proven. In: what was wanted before and now, and what Envoy had. Out: what is kept, and for whom it waits.
 * It never keeps what the next edit of rules would not reach: then the listener goes, and its port refuses.
 */
import { fromBinary } from '@bufbuild/protobuf'
import { TYPE_URLS, type TypeUrl, type XdsResource } from '../../../common/xds.ts'
import { ListenerSchema } from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { keyOf } from './key.ts'

/** What is no longer wanted and stays for the time being. */
export interface Kept {
  readonly typeUrl: TypeUrl
  readonly resource: XdsResource
  /** Listeners that came in its place. Empty for what kept listeners may refer to: it goes after them. */
  readonly waitsFor: ReadonlySet<string>
}

export type Resources = ReadonlyMap<TypeUrl, ReadonlyMap<string, XdsResource>>

/** What of the store goes in. */
interface Known {
  readonly accepted: ReadonlyMap<string, XdsResource>
  readonly kept: ReadonlyMap<string, Kept>
}

type Wanted = ReadonlyMap<string, XdsResource>

const NOTHING: Wanted = new Map()

/** What is kept after the controller has changed what it wants. */
export function noteDesired<S extends Known>(store: S, before: Resources, after: Resources): S {
  const listeners = keptListeners(store, before, after)
  if (listeners.size === 0) return store.kept.size === 0 ? store : { ...store, kept: listeners }
  const isGone = ({ typeUrl, resource }: Kept) => after.get(typeUrl)?.has(resource.name) !== true
  const others = [...store.kept.values(), ...acceptedOf(store, before)]
    .filter(({ typeUrl }) => typeUrl !== TYPE_URLS.listener)
    .filter(isGone)
    .map((one) => [keyOf(one.typeUrl, one.resource.name), one] as const)
  return { ...store, kept: new Map([...listeners, ...others]) }
}

/** What Envoy has of them, as if it were kept. */
function acceptedOf({ accepted }: Known, resources: Resources): readonly Kept[] {
  return [...resources].flatMap(([typeUrl, list]) =>
    [...list.keys()].flatMap((name) => {
      const resource = accepted.get(keyOf(typeUrl, name))
      return resource === undefined ? [] : [{ typeUrl, resource, waitsFor: new Set<string>() }]
    }),
  )
}

function keptListeners(
  store: Known,
  before: Resources,
  after: Resources,
): ReadonlyMap<string, Kept> {
  const had = before.get(TYPE_URLS.listener) ?? NOTHING
  const wanted = after.get(TYPE_URLS.listener) ?? NOTHING
  const fresh = [...wanted.values()]
    .filter(({ name, version }) => had.get(name)?.version !== version)
    .filter(({ name, version }) => acceptedVersion(store, name) !== version)
    .map(({ name }) => name)
  const kept = new Map<string, Kept>()
  const keep = (resource: XdsResource, waiting: readonly string[]) => {
    const { name } = resource
    if (wanted.has(name) || waiting.length === 0) return
    const waitsFor = new Set(waiting)
    kept.set(keyOf(TYPE_URLS.listener, name), { typeUrl: TYPE_URLS.listener, resource, waitsFor })
  }
  const isOpen = !hasOtherRules(before, after)
  for (const { resource, waitsFor } of store.kept.values()) {
    if (waitsFor.size === 0 || (isInbound(resource.name) && !isOpen)) continue
    const left = [...waitsFor].filter((name) => wanted.has(name))
    // What it waited for was itself replaced.
    const isReplaced = left.length < waitsFor.size
    keep(resource, isReplaced ? [...left, ...alike(fresh, resource.name)] : left)
  }
  for (const name of had.keys()) {
    const resource = store.accepted.get(keyOf(TYPE_URLS.listener, name))
    if (resource !== undefined) keep(resource, alike(fresh, name))
  }
  return kept
}

/** Nothing is kept any more once all that it waits for serves; `isProven` knows. */
export function releaseKept<S extends Known>(store: S, isProven: (listener: string) => boolean): S {
  const kept = new Map([...store.kept].filter(([, { waitsFor }]) => waitsFor.size > 0))
  for (const [key, { waitsFor }] of kept) if ([...waitsFor].every(isProven)) kept.delete(key)
  return { ...store, kept: kept.size === 0 ? kept : new Map([...store.kept].filter(stays(kept))) }
}

function stays(listeners: ReadonlyMap<string, Kept>) {
  return ([key, { waitsFor }]: readonly [string, Kept]) => waitsFor.size === 0 || listeners.has(key)
}

/** Kept ones beside `listeners`, but those whose port one of these takes over: both can't have it. */
export function keptBeside(store: Known, listeners: readonly XdsResource[]): readonly Kept[] {
  if (store.kept.size === 0) return []
  const ports = new Set(listeners.map(portOf))
  return [...store.kept.values()].filter(({ typeUrl, resource }) => {
    if (typeUrl !== TYPE_URLS.listener) return true
    const port = portOf(resource)
    return port === undefined || !ports.has(port)
  })
}

function acceptedVersion(store: Known, name: string): string | undefined {
  return store.accepted.get(keyOf(TYPE_URLS.listener, name))?.version
}

/**
 * A rule of this workload changed, or a port that stays takes other connections; what is kept would go on as before.
 */
function hasOtherRules(before: Resources, after: Resources): boolean {
  const changed = (typeUrl: TypeUrl) => {
    const old = before.get(typeUrl) ?? NOTHING
    return [...(after.get(typeUrl) ?? NOTHING).values()]
      .filter(({ name, version }) => (old.get(name)?.version ?? version) !== version)
      .map(({ name }) => name)
  }
  return (
    changed(TYPE_URLS.extensionConfig).length > 0 || changed(TYPE_URLS.listener).some(isInbound)
  )
}

/** Whether listeners are kept that decide. */
export function keepsInbound({ kept }: Known): boolean {
  return [...kept.values()].some(isKeptInbound)
}

/** They go, come what may in their place; with the last listener all that it may refer to. */
export function withoutInbound<S extends Known>(store: S): S {
  const left = new Map([...store.kept].filter(([, one]) => !isKeptInbound(one)))
  const hasListeners = [...left.values()].some(({ waitsFor }) => waitsFor.size > 0)
  return { ...store, kept: hasListeners ? left : new Map() }
}

function isKeptInbound({ typeUrl, resource }: Kept): boolean {
  return typeUrl === TYPE_URLS.listener && isInbound(resource.name)
}

/** Inbound ones take the place of inbound ones. */
function alike(names: readonly string[], name: string): readonly string[] {
  return names.filter((other) => isInbound(other) === isInbound(name))
}

/** Outbound ones, captured ones too, are named so; the rest is what an inbound port is made of. */
function isInbound(listener: string): boolean {
  return !listener.startsWith('outbound')
}

/** Undefined: it has none, or can't be read. */
function portOf({ value }: XdsResource): number | undefined {
  try {
    const address = fromBinary(ListenerSchema, value).address?.address
    if (address?.case !== 'socketAddress') return undefined
    const { portSpecifier } = address.value
    return portSpecifier.case === 'portValue' ? portSpecifier.value : undefined
  } catch {
    return undefined
  }
}
