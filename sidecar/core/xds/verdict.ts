/**
 * What the controller is told of a response: ACK when Envoy has all of it, NACK with Envoy's own words when it
 * refused a part, nothing yet while Envoy has still to say. In: both streams' states. Out: a verdict, or progress.
 */
import { type ClientState, isTold, type Received } from '../../../common/delta-xds/client.ts'
import {
  heldVersion,
  isIdle,
  isSubscribed,
  type ServerState,
} from '../../../common/delta-xds/server.ts'
import { SECRET_SVID, TYPE_URLS, type TypeUrl } from '../../../common/xds.ts'
import { generationOf } from '../../../common/xds-snapshot.ts'
import type { Resources } from './kept.ts'
import { keyOf } from './key.ts'
import { isSvidSecret, type XdsStore } from './store.ts'

export interface Verdict {
  readonly typeUrl: TypeUrl
  readonly nonce: string
  /** Absent: ACK. */
  readonly error: string | undefined
}

export interface Progress {
  /** Content hash of what the controller sent: its snapshot's version. */
  readonly generation: string
  /** Envoy has ACKed every resource of it that it uses, and serves nothing that it replaces. */
  readonly isAccepted: boolean
  /**
   * `there`: Envoy has said of each listener that it has it, or an earlier one, or refuses it, and it has an inbound one
   * if any is wanted. `missing`: it has said so and has none. `open`: it has still to say.
   */
  readonly listeners: 'there' | 'open' | 'missing'
  /** `type name: Envoy's words`, sorted. */
  readonly refusals: readonly string[]
}

export interface Streams {
  readonly upstream: ClientState
  /** Undefined while Envoy is not connected. */
  readonly envoy: ServerState | undefined
  readonly store: XdsStore
}

type Fate = 'taken' | 'open' | { readonly refused: string }

const MAX_TEXT = 1500

/** Verdicts that can be given now, on responses that wait and on the last ones answered (they may be revised). */
export function verdicts(streams: Streams): readonly Verdict[] {
  const found: Verdict[] = []
  for (const [typeUrl, { pending, answered }] of streams.upstream.types) {
    for (const received of [answered, pending]) {
      if (received === undefined) continue
      const verdict = verdictOf(typeUrl, received, streams)
      if (verdict !== undefined) found.push(verdict)
    }
  }
  return found
}

/** How far Envoy is with what the controller wants. */
export function progressOf(streams: Streams): Progress {
  const desired = desiredOf(streams.upstream)
  const refusals: string[] = []
  let isAccepted =
    streams.envoy !== undefined && streams.store.kept.size === 0 && isTold(streams.upstream)
  for (const [typeUrl, resources] of desired) {
    for (const { name, version } of resources.values()) {
      const fate = fateOf(typeUrl, name, version, streams)
      if (fate !== 'taken') isAccepted = false
      if (typeof fate === 'object') refusals.push(`${shortType(typeUrl)} ${name}: ${fate.refused}`)
    }
  }
  const ownRefusal = streams.store.refused.get(keyOf(TYPE_URLS.secret, SECRET_SVID))
  if (ownRefusal !== undefined) {
    isAccepted = false
    refusals.push(`Secret ${SECRET_SVID}: ${ownRefusal.message}`)
  }
  const listeners = listenersOf(desired, streams)
  return { generation: generationOf(desired), isAccepted, listeners, refusals: refusals.sort() }
}

/** One that is refused and was never had doesn't keep the others from serving; none at all is no proxy. */
function listenersOf(
  desired: Resources,
  { upstream, envoy, store }: Streams,
): Progress['listeners'] {
  const isEmpty = ![...desired.values()].some((resources) => resources.size > 0)
  if (envoy === undefined || isEmpty || !isTold(upstream)) return 'open'
  const names = [...(desired.get(TYPE_URLS.listener)?.keys() ?? [])]
  if (names.length === 0) return 'there'
  const isHeld = (n: string) => heldVersion(envoy, TYPE_URLS.listener, n) !== undefined
  const isRefused = (n: string) => store.refused.has(keyOf(TYPE_URLS.listener, n))
  if (!names.every((n) => isHeld(n) || isRefused(n))) return 'open'
  // Internal ones, behind a port, don't count: they need none.
  const inbound = names.filter((n) => n.startsWith('inbound/'))
  return (inbound.length > 0 ? inbound : names).some(isHeld) ? 'there' : 'missing'
}

/**
 * Whether Envoy has taken a listener and all that any listener is made of: what was there in its place may go. It may
 * still warm, which only Envoy knows.
 */
export function isListenerProven(streams: Streams, listener: string): boolean {
  if (streams.envoy === undefined || !isIdle(streams.envoy)) return false
  for (const [typeUrl, resources] of desiredOf(streams.upstream))
    for (const { name, version } of resources.values()) {
      if (typeUrl === TYPE_URLS.listener && name !== listener) continue
      if (fateOf(typeUrl, name, version, streams) !== 'taken') return false
    }
  return true
}

export function desiredOf(upstream: ClientState): Resources {
  return new Map([...upstream.types].map(([typeUrl, type]) => [typeUrl, type.resources]))
}

function verdictOf(typeUrl: TypeUrl, received: Received, streams: Streams): Verdict | undefined {
  const fates = [...received.versions].map(([name, version]) => ({
    name,
    fate: fateOf(typeUrl, name, version, streams),
  }))
  const { nonce } = received
  const refused = fates.flatMap(({ name, fate }) =>
    typeof fate === 'object' ? [`${name}: ${fate.refused}`] : [],
  )
  if (fates.some(({ fate }) => fate === 'open')) return undefined
  if (refused.length > 0)
    return { typeUrl, nonce, error: refused.sort().join('; ').slice(0, MAX_TEXT) }
  const isGone = streams.envoy === undefined || isIdle(streams.envoy)
  return received.removed.length === 0 || isGone ? { typeUrl, nonce, error: undefined } : undefined
}

function fateOf(typeUrl: TypeUrl, name: string, version: string, streams: Streams): Fate {
  if (isSvidSecret(typeUrl, name)) return 'taken'
  const { upstream, envoy, store } = streams
  // Something newer came meanwhile: this version's fate no longer matters.
  if (upstream.types.get(typeUrl)?.resources.get(name)?.version !== version) return 'taken'
  const refusal = store.refused.get(keyOf(typeUrl, name))
  if (refusal?.version === version) return { refused: refusal.message }
  if (envoy === undefined) return 'open'
  if (heldVersion(envoy, typeUrl, name) === version) return 'taken'
  return isUnused(envoy, typeUrl, name) ? 'taken' : 'open'
}

/** Envoy asks for everything of CDS and LDS, and by name for what these refer to; once it is quiet, the rest is unused. */
function isUnused(envoy: ServerState, typeUrl: TypeUrl, name: string): boolean {
  const hasRoots = isSubscribed(envoy, TYPE_URLS.cluster) && isSubscribed(envoy, TYPE_URLS.listener)
  return hasRoots && isIdle(envoy) && !isSubscribed(envoy, typeUrl, name)
}

function shortType(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('.') + 1)
}
