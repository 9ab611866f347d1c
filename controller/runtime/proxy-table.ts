/**
 * What is known of every proxy that is or was connected: xDS verdicts and status reports, joined by node id.
 * In: what the gRPC services hear. Out: ProxyState values, which status is made of. It decides nothing.
 */
import type { ProxyRegistry, ProxyState } from './ports.ts'

/** What a proxy reports of itself. */
export type ProxyReport = Pick<
  ProxyState,
  'enforcedGeneration' | 'bundleRevision' | 'ready' | 'detail' | 'envoyVersion' | 'svidNotAfterMs'
>

/** What kind of program the proxy says that it is; by its xDS node and by its reports. */
export type ProxyAbilities = Pick<ProxyState, 'version' | 'features'>

/** By xDS it is configured, by status it reports; each ends by itself. */
export type StreamKind = 'xds' | 'status'

interface Entry {
  readonly nodeId: string
  /** What is known, as a value; undefined: made anew when it is asked for. */
  state: ProxyState | undefined
  /** Open streams of each kind. */
  readonly streams: Record<StreamKind, number>
  report: ProxyReport
  abilities: ProxyAbilities
  ackedGeneration: string
  /** Generations in an older form → what they stand for, oldest first. */
  readonly forms: Map<string, string>
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
  envoyVersion: '',
  svidNotAfterMs: 0,
}
const UNKNOWN: ProxyAbilities = { version: '', features: [] }
const GONE: ProxyReport = { ...NO_REPORT, detail: 'not connected' }

/** Of a proxy that never was heard of. */
export function stateOfUnknown(nodeId: string): ProxyState {
  return { nodeId, connected: false, ...GONE, ...UNKNOWN, ackedGeneration: '', nacks: [] }
}

/** A state that another replica told, with what it did not tell as unknown; undefined: it is none. */
export function readProxyState(value: unknown): ProxyState | undefined {
  const told = (value ?? {}) as Partial<ProxyState>
  if (typeof told.nodeId !== 'string') return undefined
  const unknown = stateOfUnknown(told.nodeId)
  const isAlike = Object.entries(unknown).every(([key, known]) => {
    const given = told[key as keyof ProxyState]
    return (
      given === undefined ||
      (typeof given === typeof known && Array.isArray(given) === Array.isArray(known))
    )
  })
  if (!isAlike) return undefined
  const isText = (text: unknown) => typeof text === 'string'
  const { nacks = [], features = [] } = told
  const isNack = (nack: Partial<ProxyState['nacks'][number]> | null) =>
    isText(nack?.typeUrl) && isText(nack?.message) && nack?.names?.every?.(isText) === true
  return { ...unknown, ...told, nacks: nacks.filter(isNack), features: features.filter(isText) }
}

/**
 * The proxies of all replicas: of one that is connected here, what it says here; else what another replica heard of it.
 * Sorted by node id.
 */
export function joinProxies(
  own: readonly ProxyState[],
  others: readonly ProxyState[],
): readonly ProxyState[] {
  if (others.length === 0) return own
  const all = new Map(own.map((proxy) => [proxy.nodeId, proxy]))
  const here = new Set(own.filter((proxy) => proxy.connected).map((proxy) => proxy.nodeId))
  for (const proxy of others) if (!here.has(proxy.nodeId)) all.set(proxy.nodeId, proxy)
  return [...all.values()].sort(byName)
}

/** Older forms whose names are remembered of one proxy: what it may still enforce, and what is on its way. */
const MAX_FORMS = 16
/** Refused resources that are remembered of one proxy. */
const MAX_NACKS = 200

export class ProxyTable implements ProxyRegistry {
  readonly #entries = new Map<string, Entry>()
  readonly #listeners = new Set<() => void>()
  /** Entries by name; undefined: one came or went. */
  #sorted: readonly Entry[] | undefined

  /** Sorted by node id. A proxy of which nothing new was heard is the same value as before. */
  list(): readonly ProxyState[] {
    this.#sorted ??= [...this.#entries.values()].sort(byName)
    return this.#sorted.map((entry) => {
      entry.state ??= toState(entry)
      return entry.state
    })
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** A stream of this proxy opened. Returns what to call when it ends. */
  opened(nodeId: string, kind: StreamKind): () => void {
    const entry = this.#entryOf(nodeId)
    const { streams } = entry
    streams[kind] += 1
    this.#changed(entry)
    let isOpen = true
    return () => {
      if (!isOpen) return
      isOpen = false
      streams[kind] -= 1
      // What it said is no longer its word: it may have changed since.
      if (streams.status === 0) entry.report = streams.xds === 0 ? GONE : NO_REPORT
      if (streams.xds === 0) entry.ackedGeneration = ''
      this.#changed(entry)
    }
  }

  /** A refusal stands for each resource until that one is ACKed or gone: another's ACK says nothing of it. */
  nacked(nodeId: string, typeUrl: string, names: readonly string[], message: string): void {
    const entry = this.#entryOf(nodeId)
    const { nacks } = entry
    // A removal that is refused has no name; the next ACK of the type ends it.
    for (const name of names.length === 0 ? [''] : names.slice(0, MAX_NACKS))
      if (nacks.size < MAX_NACKS) nacks.set(`${typeUrl} ${name}`, { typeUrl, name, message })
    this.#changed(entry)
  }

  acked(nodeId: string, typeUrl: string, names: readonly string[]): void {
    const entry = this.#entryOf(nodeId)
    const { nacks } = entry
    const before = nacks.size
    if (before === 0) return
    for (const name of ['', ...names]) nacks.delete(`${typeUrl} ${name}`)
    if (nacks.size < before) this.#changed(entry)
  }

  /** A new xDS stream is told everything that was refused again, so old refusals are forgotten. */
  forgetNacks(nodeId: string, typeUrl: string): void {
    const entry = this.#entryOf(nodeId)
    const { nacks } = entry
    for (const [key, nack] of nacks) if (nack.typeUrl === typeUrl) nacks.delete(key)
    entry.state = undefined
  }

  settled(nodeId: string, generation: string): void {
    const entry = this.#entryOf(nodeId)
    if (entry.ackedGeneration === generation) return
    entry.ackedGeneration = generation
    this.#changed(entry)
  }

  /** What the proxy calls `generation`, being older, is `newest` to everybody else. */
  standsFor(nodeId: string, generation: string, newest: string): void {
    const entry = this.#entryOf(nodeId)
    const { forms } = entry
    if (forms.get(generation) === newest) return
    forms.delete(generation)
    forms.set(generation, newest)
    for (const oldest of forms.keys()) if (forms.size > MAX_FORMS) forms.delete(oldest)
    this.#changed(entry)
  }

  described(nodeId: string, abilities: ProxyAbilities): void {
    const entry = this.#entryOf(nodeId)
    entry.abilities = abilities
    this.#changed(entry)
  }

  reported(nodeId: string, report: ProxyReport): void {
    const entry = this.#entryOf(nodeId)
    entry.report = report
    this.#changed(entry)
  }

  /** Forgets proxies of workloads that are no more. */
  retain(nodeIds: ReadonlySet<string>): void {
    for (const [nodeId, entry] of this.#entries)
      if (!nodeIds.has(nodeId) && !isConnected(entry)) {
        this.#entries.delete(nodeId)
        this.#sorted = undefined
      }
  }

  #entryOf(nodeId: string): Entry {
    const known = this.#entries.get(nodeId)
    if (known !== undefined) return known
    const entry: Entry = {
      nodeId,
      state: undefined,
      streams: { xds: 0, status: 0 },
      report: NO_REPORT,
      abilities: UNKNOWN,
      ackedGeneration: '',
      forms: new Map(),
      nacks: new Map(),
    }
    this.#entries.set(nodeId, entry)
    this.#sorted = undefined
    return entry
  }

  #changed(entry: Entry): void {
    entry.state = undefined
    for (const listener of this.#listeners) listener()
  }
}

function toState(entry: Entry): ProxyState {
  const nameOf = (generation: string) => entry.forms.get(generation) ?? generation
  return {
    nodeId: entry.nodeId,
    connected: isConnected(entry),
    ...entry.report,
    ...entry.abilities,
    enforcedGeneration: nameOf(entry.report.enforcedGeneration),
    ackedGeneration: nameOf(entry.ackedGeneration),
    nacks: toNacks([...entry.nacks.values()]),
  }
}

function isConnected({ streams }: Entry): boolean {
  return streams.xds + streams.status > 0
}

type Named = Pick<ProxyState, 'nodeId'>

function byName({ nodeId: a }: Named, { nodeId: b }: Named): number {
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
