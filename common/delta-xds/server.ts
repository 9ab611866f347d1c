/**
 * The server side of one delta-xDS stream as a reducer: step(state, event) → { state, effects }.
 * In: requests and snapshots as values. Out: responses to send and the client's verdicts. No I/O, no clock.
 * It must never send a refused version again, never send a type ahead of one that it depends on, never leave
 * more than one response of a type unanswered. Source: xDS protocol, "Incremental xDS", "Eventual consistency".
 */
import { PUBLISH_ORDER, TYPE_URLS, type XdsResource, type XdsSnapshot } from '../xds.ts'
import { changedOf, dueOf, hasRefused, resourcesOf, takeBytes } from './due.ts'
import {
  accept,
  askAgain,
  changeSubscription,
  firstSubscription,
  isWanted,
  oweAgain,
  refuse,
  type Subscription,
  type SubscriptionChange,
  suspect,
} from './subscription.ts'

export interface DeltaRequest extends SubscriptionChange {
  readonly typeUrl: string
  /** Empty in a request that answers nothing. */
  readonly nonce: string
  /** Text of error_detail: a NACK. */
  readonly error: string | undefined
}

export type ServerEvent =
  | { readonly kind: 'request'; readonly request: DeltaRequest }
  | { readonly kind: 'snapshot'; readonly snapshot: XdsSnapshot }
  /** What was refused for a reason that may have passed (a port in use) is sent once more. */
  | { readonly kind: 'retry'; readonly typeUrl: string; readonly names: readonly string[] }
  | { readonly kind: 'closed' }

export interface SendEffect {
  readonly kind: 'send'
  readonly typeUrl: string
  readonly resources: readonly XdsResource[]
  readonly removed: readonly string[]
  readonly nonce: string
  readonly systemVersion: string
}

/** gRPC status of a stream that is ended for what its client asked. */
export type StreamFault = 'RESOURCE_EXHAUSTED' | 'INVALID_ARGUMENT'

export type ServerEffect =
  | SendEffect
  | {
      readonly kind: 'acked'
      readonly typeUrl: string
      readonly nonce: string
      readonly versions: ReadonlyMap<string, string>
      readonly removed: readonly string[]
    }
  | {
      readonly kind: 'nacked'
      readonly typeUrl: string
      readonly nonce: string
      readonly versions: ReadonlyMap<string, string>
      readonly message: string
    }
  | {
      readonly kind: 'error'
      readonly status: StreamFault
      readonly message: string
    }

export interface ServerState {
  readonly snapshot: XdsSnapshot | undefined
  readonly subscriptions: ReadonlyMap<string, Subscription>
  /** Responses sent so far; the next nonce is one more, after `noncePrefix`. */
  readonly sent: number
  readonly noncePrefix: string
  /** Whether a refused response of several resources is retried one by one, to find the one at fault. */
  readonly isolate: boolean
  readonly closed: boolean
}

export interface ServerStep {
  readonly state: ServerState
  readonly effects: readonly ServerEffect[]
}

/** Bounds on what one client may make us remember: over all types of a stream. A name of ours has some 600 characters. */
const MAX_TYPES = 16
const MAX_NAMES = 20_000
const MAX_NAME_LENGTH = 1024

/**
 * Removal is publication in reverse, but a listener goes before the routes that it names, and a cluster before its
 * endpoints: nothing is taken away that something present still refers to.
 */
export const REMOVAL_ORDER: readonly string[] = [
  TYPE_URLS.listener,
  TYPE_URLS.route,
  TYPE_URLS.extensionConfig,
  TYPE_URLS.cluster,
  TYPE_URLS.endpoint,
  TYPE_URLS.secret,
]

/** `noncePrefix`: unique to the stream, so that a nonce of an earlier stream, or a guessed one, answers nothing. */
export function startServer(options: {
  readonly isolate: boolean
  readonly noncePrefix?: string
}): ServerState {
  return {
    snapshot: undefined,
    subscriptions: new Map(),
    sent: 0,
    noncePrefix: options.noncePrefix ?? '',
    isolate: options.isolate,
    closed: false,
  }
}

/** One event's consequences. After `closed` or an error nothing follows. */
export function step(state: ServerState, event: ServerEvent): ServerStep {
  if (state.closed) return { state, effects: [] }
  switch (event.kind) {
    case 'closed':
      return { state: { ...state, closed: true }, effects: [] }
    case 'snapshot':
      return publish({ ...state, snapshot: event.snapshot }, [])
    case 'retry': {
      const subscription = state.subscriptions.get(event.typeUrl)
      if (subscription === undefined) return { state, effects: [] }
      const subscriptions = new Map(state.subscriptions)
      subscriptions.set(event.typeUrl, askAgain(subscription, event.names))
      return publish({ ...state, subscriptions }, [])
    }
    case 'request': {
      const taken = takeRequest(state, event.request)
      return taken.state.closed ? taken : publish(taken.state, taken.effects)
    }
  }
}

/** Whether no response waits for its verdict. */
export function isIdle(state: ServerState): boolean {
  return [...state.subscriptions.values()].every((s) => s.outstanding === undefined)
}

/** Whether the client has ACKed the whole snapshot as far as it wants it: nothing waits, is due, or is refused. */
export function isSettled({ snapshot, subscriptions }: ServerState): boolean {
  if (snapshot === undefined) return false
  if ([...snapshot.resources.keys()].some((typeUrl) => !subscriptions.has(typeUrl))) return false
  return [...subscriptions].every(([typeUrl, subscription]) => {
    if (subscription.outstanding !== undefined || subscription.owesFirst) return false
    const resources = resourcesOf(snapshot, typeUrl)
    const { changed, absent, gone } = dueOf(subscription, resources)
    return (
      changed.length + absent.length + gone.length === 0 && !hasRefused(subscription, resources)
    )
  })
}

/** The version that the client has accepted on this stream; undefined: none. */
export function heldVersion(state: ServerState, typeUrl: string, name: string): string | undefined {
  return state.subscriptions.get(typeUrl)?.held.get(name)
}

export function isSubscribed(state: ServerState, typeUrl: string, name?: string): boolean {
  const subscription = state.subscriptions.get(typeUrl)
  if (subscription === undefined) return false
  return name === undefined || isWanted(subscription, name)
}

function takeRequest(state: ServerState, request: DeltaRequest): ServerStep {
  const fault = findFault(request)
  if (fault !== undefined) return fail(state, fault, 'INVALID_ARGUMENT')
  const before = state.subscriptions.get(request.typeUrl)
  if (before === undefined && state.subscriptions.size >= MAX_TYPES)
    return fail(state, 'too many resource types on one stream')
  const { subscription: judged, effects } =
    before === undefined
      ? { subscription: undefined, effects: [] }
      : takeVerdict(before, request, state.isolate)
  const after =
    judged === undefined ? firstSubscription(request) : changeSubscription(judged, request)
  const subscriptions = new Map(state.subscriptions).set(request.typeUrl, after)
  // What is sent is bounded by the snapshot; what is asked for and claimed is the client's to choose.
  const isGrown = request.subscribe.length > 0 || request.initialVersions.size > 0
  if (isGrown && countNames(subscriptions) > MAX_NAMES + 2 * countResources(state.snapshot))
    return fail(state, 'too many resource names on one stream')
  return { state: { ...state, subscriptions }, effects }
}

function countNames(subscriptions: ServerState['subscriptions']): number {
  let count = 0
  for (const { names, held, asked } of subscriptions.values())
    count += Math.max(names.size, asked.size) + held.size
  return count
}

function countResources(snapshot: XdsSnapshot | undefined): number {
  return [...(snapshot?.resources.values() ?? [])].reduce((sum, list) => sum + list.size, 0)
}

/** What makes a request senseless on an aggregated stream; undefined: nothing. */
function findFault(request: DeltaRequest): string | undefined {
  const { typeUrl, subscribe, initialVersions } = request
  if (typeUrl === '') return 'type_url is required'
  const isLong = (text: string) => text.length > MAX_NAME_LENGTH
  if ([typeUrl, ...subscribe].some(isLong)) return 'a name is too long'
  if ([...initialVersions].some(([name, version]) => isLong(name) || isLong(version)))
    return 'an initial resource version is too long'
  return undefined
}

function fail(
  state: ServerState,
  message: string,
  status: StreamFault = 'RESOURCE_EXHAUSTED',
): ServerStep {
  return {
    state: { ...state, closed: true },
    effects: [{ kind: 'error', status, message }],
  }
}

/** ACK or NACK of the outstanding response, or a second thought about the one before it; other nonces are stale. */
function takeVerdict(
  before: Subscription,
  request: DeltaRequest,
  isolate: boolean,
): { readonly subscription: Subscription; readonly effects: readonly ServerEffect[] } {
  const { typeUrl, nonce, error } = request
  const { outstanding, answered } = before
  const isAnswer = nonce !== '' && outstanding?.nonce === nonce
  const isSecondThought =
    nonce !== '' && answered?.nonce === nonce && answered.accepted === (error !== undefined)
  const sent = isAnswer ? outstanding : isSecondThought ? answered : undefined
  if (sent === undefined) return { subscription: before, effects: [] }
  const { versions, removed } = sent
  const open = {
    ...before,
    outstanding: isAnswer ? undefined : outstanding,
    answered: { nonce, versions, removed, accepted: error === undefined },
  }
  if (error === undefined) {
    const effects = [{ kind: 'acked' as const, typeUrl, nonce, versions, removed }]
    return { subscription: accept(open, sent), effects }
  }
  if (isolate && isAnswer && versions.size + removed.length > 1)
    return { subscription: suspect(open, sent), effects: [] }
  const effects = [{ kind: 'nacked' as const, typeUrl, nonce, versions, message: error }]
  return { subscription: refuse(open, sent), effects }
}

/** Sends what may go now: additions and answers in publish order, then removals. */
function publish(start: ServerState, before: readonly ServerEffect[]): ServerStep {
  const { snapshot } = start
  if (snapshot === undefined) return { state: start, effects: before }
  const out = new Outbox(start, snapshot)
  let isBehind = false
  for (const typeUrl of publishOrder(start)) {
    const subscription = out.state.subscriptions.get(typeUrl)
    if (subscription === undefined) continue
    const resources = resourcesOf(snapshot, typeUrl)
    if (subscription.outstanding !== undefined) {
      isBehind ||= changedOf(subscription, resources).length > 0
      continue
    }
    const due = dueOf(subscription, resources)
    const changed = isBehind
      ? due.changed.filter((r) => subscription.asked.has(r.name))
      : due.changed
    // Nothing yet is not an empty first answer: Envoy would start without what is withheld.
    if (changed.length < due.changed.length && changed.length + due.absent.length === 0) continue
    const isLast = !isBehind && takeBytes(changed).length === changed.length
    // With the last of the new ones, never before them: who keeps the old for the new must see both at once.
    const gone = typeUrl === TYPE_URLS.listener && isLast ? due.gone : []
    const unsent = out.send(typeUrl, subscription, changed, [...due.absent, ...gone])
    isBehind ||= unsent
  }
  sendRemovals(out)
  return { state: out.state, effects: [...before, ...out.effects] }
}

/** Takes away what nothing refers to any more: each type waits until those before it are settled on what is current. */
function sendRemovals(out: Outbox): void {
  for (const typeUrl of REMOVAL_ORDER) {
    const subscription = out.state.subscriptions.get(typeUrl)
    if (subscription === undefined) continue
    if (subscription.outstanding !== undefined) return
    const resources = resourcesOf(out.snapshot, typeUrl)
    const due = dueOf(subscription, resources)
    if (due.changed.length > 0 || hasRefused(subscription, resources)) return
    if (due.gone.length > 0) {
      out.send(typeUrl, subscription, [], due.gone)
      return
    }
  }
}

/** Collects responses and the state that follows from sending them. */
class Outbox {
  readonly snapshot: XdsSnapshot
  readonly effects: SendEffect[] = []
  state: ServerState

  constructor(state: ServerState, snapshot: XdsSnapshot) {
    this.state = state
    this.snapshot = snapshot
  }

  /** Sends one response if there is reason to. Returns whether some of `changed` must wait for its verdict. */
  send(
    typeUrl: string,
    subscription: Subscription,
    changed: readonly XdsResource[],
    removed: readonly string[],
  ): boolean {
    const trusted = changed.filter((r) => !subscription.suspects.has(r.name))
    const resources =
      trusted.length > 0 || removed.length > 0 ? takeBytes(trusted) : changed.slice(0, 1)
    if (resources.length + removed.length === 0 && !subscription.owesFirst) return false
    const nonce = `${this.state.noncePrefix}${this.state.sent + 1}`
    const versions = new Map(resources.map((r) => [r.name, r.version]))
    const answered = new Set([...versions.keys(), ...removed])
    const after: Subscription = {
      ...subscription,
      asked: subscription.asked.filter((name) => !answered.has(name)),
      owesFirst: false,
      outstanding: { nonce, versions, removed },
    }
    const subscriptions = new Map(this.state.subscriptions).set(typeUrl, after)
    if (typeUrl === TYPE_URLS.cluster) followClusters(subscriptions, [...versions.keys()])
    this.state = { ...this.state, sent: this.state.sent + 1, subscriptions }
    const systemVersion = this.snapshot.version
    this.effects.push({ kind: 'send', typeUrl, resources, removed, nonce, systemVersion })
    return resources.length < changed.length
  }
}

/**
 * The endpoints of a cluster that is sent are owed once more: a changed cluster waits for them, and the client, which has
 * them already under this name, does not ask again (xDS protocol: EDS after the CDS update of its cluster).
 */
function followClusters(subscriptions: Map<string, Subscription>, names: readonly string[]): void {
  const endpoints = subscriptions.get(TYPE_URLS.endpoint)
  if (endpoints === undefined) return
  subscriptions.set(TYPE_URLS.endpoint, oweAgain(endpoints, names))
}

/** Known types in make-before-break order, then what else the client asked for. */
function publishOrder(state: ServerState): readonly string[] {
  const known: readonly string[] = PUBLISH_ORDER
  return [...known, ...[...state.subscriptions.keys()].filter((t) => !known.includes(t))]
}
