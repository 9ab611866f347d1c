/**
 * The client side of delta xDS as a reducer: step(state, event) → { state, effects }. Subscribes to everything of
 * the six types and keeps what it has across streams, so that a reconnect costs only what changed meanwhile.
 * A response is answered when its verdict is known (Envoy's, for the sidecar), not when it arrives; a verdict may
 * be revised. Source: xDS protocol, "Incremental xDS".
 */
import { PUBLISH_ORDER, TYPE_URLS, type TypeUrl, type XdsResource } from '../xds.ts'
import { WILDCARD } from './subscription.ts'

/** A response as it waits for its verdict, or the last one that had it. */
export interface Received {
  readonly nonce: string
  readonly versions: ReadonlyMap<string, string>
  readonly removed: readonly string[]
}

export interface ClientType {
  /** The server has said on some stream what there is of the type, or the cache did. */
  readonly isKnown: boolean
  readonly resources: ReadonlyMap<string, XdsResource>
  /**
   * Names whose verdict was ACK. Only these are claimed as they are in initial_resource_versions; the others with a
   * version that no server has, so that they are sent (or removed) again and the server hears the verdict.
   */
  readonly settled: ReadonlySet<string>
  readonly pending: Received | undefined
  readonly answered: (Received & { readonly error: string | undefined }) | undefined
}

export interface ClientState {
  readonly connected: boolean
  readonly types: ReadonlyMap<TypeUrl, ClientType>
}

export type ClientEvent =
  | { readonly kind: 'opened' }
  | {
      readonly kind: 'response'
      readonly typeUrl: string
      readonly nonce: string
      readonly resources: readonly XdsResource[]
      readonly removed: readonly string[]
      /** Why it can't be taken. */
      readonly fault?: string | undefined
    }
  | {
      readonly kind: 'verdict'
      readonly typeUrl: TypeUrl
      readonly nonce: string
      /** Absent: ACK. */
      readonly error: string | undefined
    }
  | { readonly kind: 'closed' }

export type ClientEffect =
  | {
      readonly kind: 'request'
      readonly typeUrl: string
      readonly subscribe: readonly string[]
      readonly initialVersions: ReadonlyMap<string, string>
      readonly nonce: string
      readonly error: string | undefined
    }
  | { readonly kind: 'changed'; readonly typeUrl: TypeUrl }

export interface ClientStep {
  readonly state: ClientState
  readonly effects: readonly ClientEffect[]
}

const EMPTY: ClientType = {
  isKnown: false,
  resources: new Map(),
  settled: new Set(),
  pending: undefined,
  answered: undefined,
}

/**
 * Starts with what is known already (from the cache), as settled. With listeners it is whole: they come after what they
 * are made of, and a server that withholds the newest says nothing of types that it had none of.
 */
export function startClient(
  known: ReadonlyMap<TypeUrl, ReadonlyMap<string, XdsResource>> = new Map(),
): ClientState {
  const isWhole = (known.get(TYPE_URLS.listener)?.size ?? 0) > 0
  const types = new Map<TypeUrl, ClientType>()
  for (const typeUrl of PUBLISH_ORDER) {
    const resources = known.get(typeUrl) ?? new Map<string, XdsResource>()
    const settled = new Set(resources.keys())
    types.set(typeUrl, { ...EMPTY, isKnown: isWhole || resources.size > 0, resources, settled })
  }
  return { connected: false, types }
}

export function stepClient(state: ClientState, event: ClientEvent): ClientStep {
  switch (event.kind) {
    case 'opened':
      return open(state)
    case 'closed':
      return { state: { connected: false, types: mapTypes(state, withoutPending) }, effects: [] }
    case 'response':
      return takeResponse(state, event)
    case 'verdict':
      return answer(state, event)
  }
}

/** Whether it is known of each type what there is; before, the first half of what comes would look like all of it. */
export function isTold({ types }: ClientState): boolean {
  return [...types.values()].every((type) => type.isKnown)
}

function open(state: ClientState): ClientStep {
  const effects = PUBLISH_ORDER.map((typeUrl): ClientEffect => {
    const type = state.types.get(typeUrl) ?? EMPTY
    const claim = (r: XdsResource) => (type.settled.has(r.name) ? r.version : `!${r.version}`)
    const initialVersions = new Map([...type.resources.values()].map((r) => [r.name, claim(r)]))
    return { ...request(typeUrl, '', undefined), subscribe: [WILDCARD], initialVersions }
  })
  return { state: { connected: true, types: mapTypes(state, withoutPending) }, effects }
}

function takeResponse(
  state: ClientState,
  event: Extract<ClientEvent, { kind: 'response' }>,
): ClientStep {
  const typeUrl = PUBLISH_ORDER.find((known) => known === event.typeUrl)
  if (typeUrl === undefined)
    return { state, effects: [request(event.typeUrl, event.nonce, 'unknown resource type')] }
  if (event.fault !== undefined)
    return { state, effects: [request(typeUrl, event.nonce, event.fault)] }
  if (new Set(event.resources.map((r) => r.name)).size < event.resources.length)
    return { state, effects: [request(typeUrl, event.nonce, 'a resource name stands twice')] }
  const before = state.types.get(typeUrl) ?? EMPTY
  const resources = new Map(before.resources)
  const settled = new Set(before.settled)
  for (const resource of event.resources) {
    resources.set(resource.name, resource)
    settled.delete(resource.name)
  }
  for (const name of event.removed) {
    resources.delete(name)
    settled.delete(name)
  }
  const pending: Received = {
    nonce: event.nonce,
    versions: new Map(event.resources.map((r) => [r.name, r.version])),
    removed: event.removed,
  }
  const after: ClientType = { ...before, isKnown: true, resources, settled, pending }
  return { state: withType(state, typeUrl, after), effects: [{ kind: 'changed', typeUrl }] }
}

/** ACKs or NACKs the pending response, or revises the verdict on the last one; anything else is out of date. */
function answer(state: ClientState, event: Extract<ClientEvent, { kind: 'verdict' }>): ClientStep {
  const { typeUrl, nonce, error } = event
  const before = state.types.get(typeUrl) ?? EMPTY
  const isPending = before.pending?.nonce === nonce
  const isRevised = before.answered?.nonce === nonce && before.answered.error !== error
  const received = isPending ? before.pending : isRevised ? before.answered : undefined
  if (!state.connected || received === undefined) return { state, effects: [] }
  const settled = new Set(before.settled)
  for (const [name, version] of received.versions) {
    const isCurrent = before.resources.get(name)?.version === version
    if (isCurrent && error === undefined) settled.add(name)
    else settled.delete(name)
  }
  const after: ClientType = {
    ...before,
    settled,
    pending: isPending ? undefined : before.pending,
    answered: { ...received, error },
  }
  return { state: withType(state, typeUrl, after), effects: [request(typeUrl, nonce, error)] }
}

function request(
  typeUrl: string,
  nonce: string,
  error: string | undefined,
): Extract<ClientEffect, { kind: 'request' }> {
  return { kind: 'request', typeUrl, subscribe: [], initialVersions: new Map(), nonce, error }
}

/** Nonces end with their stream. */
function withoutPending(type: ClientType): ClientType {
  return { ...type, pending: undefined, answered: undefined }
}

function mapTypes(state: ClientState, f: (t: ClientType) => ClientType): ClientState['types'] {
  return new Map([...state.types].map(([typeUrl, type]) => [typeUrl, f(type)]))
}

function withType(state: ClientState, typeUrl: TypeUrl, type: ClientType): ClientState {
  return { ...state, types: new Map(state.types).set(typeUrl, type) }
}
