/**
 * What is known of every proxy that is or was connected: xDS verdicts and status reports, joined by node id.
 * In: what the gRPC services hear. Out: ProxyState values, which status is made of. It decides nothing.
 */
import type { ProxyRegistry, ProxyState } from './ports.ts'

/** What a proxy reports of itself. */
export type ProxyReport = Pick<
  ProxyState,
  'enforcedGeneration' | 'bundleRevision' | 'ready' | 'detail'
>

interface Entry {
  /** Open xDS and status streams. */
  streams: number
  report: ProxyReport
  readonly nacks: Map<string, string>
}

const NO_REPORT: ProxyReport = {
  enforcedGeneration: '',
  bundleRevision: '',
  ready: false,
  detail: 'no report yet',
}
const GONE: ProxyReport = { ...NO_REPORT, detail: 'not connected' }

export class ProxyTable implements ProxyRegistry {
  readonly #entries = new Map<string, Entry>()
  readonly #listeners = new Set<() => void>()

  list(): readonly ProxyState[] {
    return [...this.#entries].sort(byName).map(([nodeId, entry]) => ({
      nodeId,
      connected: entry.streams > 0,
      ...entry.report,
      nacks: [...entry.nacks].map(([typeUrl, message]) => ({ typeUrl, message })),
    }))
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** A stream of this proxy opened. Returns what to call when it ends. */
  opened(nodeId: string): () => void {
    const entry = this.#entryOf(nodeId)
    entry.streams += 1
    this.#changed()
    let isOpen = true
    return () => {
      if (!isOpen) return
      isOpen = false
      entry.streams -= 1
      if (entry.streams === 0) entry.report = { ...GONE, bundleRevision: '' }
      this.#changed()
    }
  }

  nacked(nodeId: string, typeUrl: string, message: string): void {
    this.#entryOf(nodeId).nacks.set(typeUrl, message)
    this.#changed()
  }

  acked(nodeId: string, typeUrl: string): void {
    if (this.#entryOf(nodeId).nacks.delete(typeUrl)) this.#changed()
  }

  /** A new xDS stream is told everything that was refused again, so old refusals are forgotten. */
  forgetNacks(nodeId: string): void {
    this.#entryOf(nodeId).nacks.clear()
  }

  reported(nodeId: string, report: ProxyReport): void {
    this.#entryOf(nodeId).report = report
    this.#changed()
  }

  /** Forgets proxies of workloads that are no more. */
  retain(nodeIds: ReadonlySet<string>): void {
    for (const [nodeId, entry] of this.#entries)
      if (!nodeIds.has(nodeId) && entry.streams === 0) this.#entries.delete(nodeId)
  }

  #entryOf(nodeId: string): Entry {
    const known = this.#entries.get(nodeId)
    if (known !== undefined) return known
    const entry: Entry = { streams: 0, report: NO_REPORT, nacks: new Map() }
    this.#entries.set(nodeId, entry)
    return entry
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}

function byName([a]: readonly [string, Entry], [b]: readonly [string, Entry]): number {
  return a < b ? -1 : a > b ? 1 : 0
}
