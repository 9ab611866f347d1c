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

/** What kind of program the proxy says that it is; by its xDS node and by its reports. */
export type ProxyAbilities = Pick<ProxyState, 'version' | 'features'>

interface Entry {
  /** Open xDS and status streams. */
  streams: number
  report: ProxyReport
  abilities: ProxyAbilities
  ackedGeneration: string
  /** `type name` → what was said of it. */
  readonly nacks: Map<string, Nack>
}

interface Nack {
  readonly typeUrl: string
  readonly name: string
  readonly message: string
}

const NO_REPORT: ProxyReport = {
  enforcedGeneration: '',
  bundleRevision: '',
  ready: false,
  detail: 'no report yet',
}
const UNKNOWN: ProxyAbilities = { version: '', features: [] }
const GONE: ProxyReport = { ...NO_REPORT, detail: 'not connected' }

/** Refused resources that are remembered of one proxy. */
const MAX_NACKS = 200

export class ProxyTable implements ProxyRegistry {
  readonly #entries = new Map<string, Entry>()
  readonly #listeners = new Set<() => void>()

  list(): readonly ProxyState[] {
    return [...this.#entries].sort(byName).map(([nodeId, entry]) => ({
      nodeId,
      connected: entry.streams > 0,
      ...entry.report,
      ...entry.abilities,
      ackedGeneration: entry.ackedGeneration,
      nacks: toNacks([...entry.nacks.values()]),
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
      if (entry.streams === 0) {
        entry.report = { ...GONE, bundleRevision: '' }
        entry.ackedGeneration = ''
      }
      this.#changed()
    }
  }

  /** A refusal stands for each resource until that one is ACKed or gone: another's ACK says nothing of it. */
  nacked(nodeId: string, typeUrl: string, names: readonly string[], message: string): void {
    const { nacks } = this.#entryOf(nodeId)
    // A removal that is refused has no name; the next ACK of the type ends it.
    for (const name of names.length === 0 ? [''] : names.slice(0, MAX_NACKS))
      if (nacks.size < MAX_NACKS) nacks.set(`${typeUrl} ${name}`, { typeUrl, name, message })
    this.#changed()
  }

  acked(nodeId: string, typeUrl: string, names: readonly string[]): void {
    const { nacks } = this.#entryOf(nodeId)
    const before = nacks.size
    if (before === 0) return
    for (const name of ['', ...names]) nacks.delete(`${typeUrl} ${name}`)
    if (nacks.size < before) this.#changed()
  }

  /** A new xDS stream is told everything that was refused again, so old refusals are forgotten. */
  forgetNacks(nodeId: string, typeUrl: string): void {
    const { nacks } = this.#entryOf(nodeId)
    for (const [key, nack] of nacks) if (nack.typeUrl === typeUrl) nacks.delete(key)
  }

  settled(nodeId: string, generation: string): void {
    const entry = this.#entryOf(nodeId)
    if (entry.ackedGeneration === generation) return
    entry.ackedGeneration = generation
    this.#changed()
  }

  described(nodeId: string, abilities: ProxyAbilities): void {
    this.#entryOf(nodeId).abilities = abilities
    this.#changed()
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
    const entry: Entry = {
      streams: 0,
      report: NO_REPORT,
      abilities: UNKNOWN,
      ackedGeneration: '',
      nacks: new Map(),
    }
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

/** One for each type and reason, with the names that it concerns. */
function toNacks(nacks: readonly Nack[]): ProxyState['nacks'] {
  const groups = new Map<string, { typeUrl: string; message: string; names: string[] }>()
  for (const { typeUrl, name, message } of nacks) {
    const key = `${typeUrl} ${message}`
    const group = groups.get(key) ?? { typeUrl, message, names: [] }
    group.names.push(name)
    groups.set(key, group)
  }
  return [...groups.values()]
}
