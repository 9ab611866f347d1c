/**
 * One line for each workload's proxy, for `postern proxy status`: what it says of itself, how far it is with each type,
 * and how it stands to what it is given. In: proxy states, xDS streams, history. Out: values. It decides nothing.
 */
import { missingFeatures } from '../../common/features.ts'
import { TYPE_URLS } from '../../common/xds.ts'
import type { Given } from './history.ts'
import type { ProxyState } from './ports.ts'

/** `SYNCED`, `STALE`, `NOT SENT` or `NACKED`; seconds since when it is not at the newest. */
export interface TypeOverview {
  readonly status: string
  readonly seconds?: number
}

export interface ProxyOverview extends ProxyState {
  /** `namespace/name`. */
  readonly workload: string
  /** By short name: `cluster`, `endpoint`, `listener`, `route`, `secret`, `extensionConfig`; those that it has. */
  readonly sync: Readonly<Record<string, TypeOverview>>
  /** Empty: nothing is published for it. */
  readonly newestGeneration: string
  readonly newestRevision: string
  /** Seconds since the newest was published, while the proxy doesn't enforce it; absent: it does. */
  readonly lagSeconds?: number
  /** What it would have to know to be given the newest. */
  readonly missingFeatures: readonly string[]
}

interface Sync {
  readonly typeUrl: string
  readonly status: string
  readonly sinceMs?: number
}

export function toOverview(
  state: ProxyState,
  newest: Given | undefined,
  known: { readonly sync: readonly Sync[]; readonly nowMs: number },
): ProxyOverview {
  const { nowMs } = known
  const [newestGeneration, newestRevision] = [
    newest?.snapshot.version ?? '',
    newest?.bundle.revision ?? '',
  ]
  const isCurrent =
    state.enforcedGeneration === newestGeneration && state.bundleRevision === newestRevision
  const requires = [...(newest?.snapshot.requires ?? []), ...(newest?.bundle.requires ?? [])]
  return {
    ...state,
    workload: state.nodeId.split('/').slice(0, 2).join('/'),
    sync: Object.fromEntries(known.sync.map((s) => [shortName(s.typeUrl), toType(s, nowMs)])),
    newestGeneration,
    newestRevision,
    ...(newest === undefined || isCurrent ? {} : { lagSeconds: since(newest.sinceMs, nowMs) }),
    missingFeatures: [...new Set(state.connected ? missingFeatures(requires, state.features) : [])],
  }
}

function toType({ status, sinceMs }: Sync, nowMs: number): TypeOverview {
  return sinceMs === undefined ? { status } : { status, seconds: since(sinceMs, nowMs) }
}

function since(thenMs: number, nowMs: number): number {
  return Math.max(0, Math.round((nowMs - thenMs) / 1000))
}

function shortName(typeUrl: string): string {
  return Object.entries(TYPE_URLS).find(([, url]) => url === typeUrl)?.[0] ?? typeUrl
}
