/**
 * What one client is owed of one resource type, from what it wants and has and what there is. Pure functions;
 * `server.ts` decides from them when it is sent. Source: xDS protocol, "Incremental xDS".
 */
import type { XdsResource, XdsSnapshot } from '../xds.ts'
import { isWanted, type Subscription } from './subscription.ts'

/** Content of one response at most, unless one resource alone is larger: what waits for a slow reader stays small. */
const MAX_RESPONSE_BYTES = 2 * 1024 * 1024

export interface Due {
  /** To be sent: asked for, changed, or never had. */
  readonly changed: readonly XdsResource[]
  /** Asked for, and there is none: said at once, so that the client need not wait for a timeout. */
  readonly absent: readonly string[]
  /** The client has (or refused) it, and it is no more. */
  readonly gone: readonly string[]
}

export function dueOf(
  subscription: Subscription,
  resources: ReadonlyMap<string, XdsResource>,
): Due {
  const { held, rejected, asked, outstanding } = subscription
  const gone = new Set([...held.keys(), ...rejected.keys()])
  const isLeft = (name: string) =>
    resources.has(name) || asked.has(name) || outstanding?.removed.includes(name) === true
  return {
    changed: changedOf(subscription, resources),
    absent: [...asked].filter((name) => !resources.has(name)),
    gone: [...gone].filter((name) => !isLeft(name)),
  }
}

/** The first part of what is due; its cost doesn't grow with what the client asks for or claims. */
export function changedOf(
  subscription: Subscription,
  resources: ReadonlyMap<string, XdsResource>,
): readonly XdsResource[] {
  const { held, rejected, asked, suspects, outstanding } = subscription
  const isDue = ({ name, version }: XdsResource): boolean => {
    if (!isWanted(subscription, name)) return false
    if (asked.has(name)) return true
    // What is on its way counts: a version that comes back while another one is out is due again.
    if (outstanding?.removed.includes(name)) return true
    const coming = outstanding?.versions.get(name)
    if (coming !== undefined) return coming !== version
    if (suspects.has(name)) return true
    // What was refused may be half applied: any other version is sent, also the one from before.
    return rejected.has(name) ? rejected.get(name) !== version : held.get(name) !== version
  }
  return [...resources.values()].filter(isDue)
}

export function resourcesOf(
  snapshot: XdsSnapshot,
  typeUrl: string,
): ReadonlyMap<string, XdsResource> {
  const all: ReadonlyMap<string, ReadonlyMap<string, XdsResource>> = snapshot.resources
  return all.get(typeUrl) ?? new Map()
}

/** Whether the client refuses something as it is now. */
export function hasRefused(
  { rejected }: Subscription,
  resources: ReadonlyMap<string, XdsResource>,
): boolean {
  return [...rejected].some(([name, version]) => resources.get(name)?.version === version)
}

/** The first of them that fit into one response; at least one. */
export function takeBytes(resources: readonly XdsResource[]): readonly XdsResource[] {
  let bytes = 0
  const end = resources.findIndex(({ value }, i) => {
    bytes += value.length
    return i > 0 && bytes > MAX_RESPONSE_BYTES
  })
  return end < 0 ? resources : resources.slice(0, end)
}
