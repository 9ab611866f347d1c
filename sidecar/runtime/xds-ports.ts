/**
 * What the xDS proxy asks of the outside: the controller's stream, Envoy's stream, the cache. Adapters implement
 * these; main joins them.
 */
import type { ClientEffect, ClientEvent } from '../../common/delta-xds/client.ts'
import type { DeltaRequest, SendEffect, StreamFault } from '../../common/delta-xds/server.ts'
import type { Resources } from '../core/xds/store.ts'

export type UpstreamEvent = Extract<ClientEvent, { kind: 'opened' | 'response' | 'closed' }>
export type UpstreamRequest = Extract<ClientEffect, { kind: 'request' }>

/** The delta-ADS stream to the controller; it comes and goes by itself. */
export interface UpstreamXds {
  onEvent(listener: (event: UpstreamEvent) => void): void
  /** Dropped while there is no stream. */
  request(request: UpstreamRequest): void
}

export type DownstreamEvent =
  | { readonly kind: 'opened' }
  | { readonly kind: 'request'; readonly request: DeltaRequest }
  | { readonly kind: 'closed' }

/** The delta-ADS stream from Envoy; at most one at a time. */
export interface DownstreamXds {
  onEvent(listener: (event: DownstreamEvent) => void): void
  send(effect: SendEffect): void
  /** Ends the stream; Envoy comes back by itself. */
  reset(reason: string, status: StreamFault): void
}

export interface XdsCache {
  /** What is kept for this node; empty when nothing is, or when it can't be trusted. */
  read(nodeId: string): Promise<Resources>
  /** Resolves when it is on the disk. */
  write(nodeId: string, resources: Resources): Promise<void>
}

/** The part of a pino logger that is used here. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
