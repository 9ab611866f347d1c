/**
 * Between the delta-xDS messages of Envoy's API and the plain values of the reducers, both ways.
 * In: decoded protobuf-es messages. Out: events; and from effects, messages to send.
 * Source: envoy/service/discovery/v3/discovery.proto, DeltaDiscoveryRequest and DeltaDiscoveryResponse.
 */
import { create, type JsonObject } from '@bufbuild/protobuf'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { ClientEffect, ClientEvent } from './client.ts'
import type { DeltaRequest, SendEffect } from './server.ts'

const INTERNAL = 13

export function fromRequestMessage(message: DeltaDiscoveryRequest): DeltaRequest {
  return {
    typeUrl: message.typeUrl,
    subscribe: message.resourceNamesSubscribe,
    unsubscribe: message.resourceNamesUnsubscribe,
    initialVersions: new Map(Object.entries(message.initialResourceVersions)),
    nonce: message.responseNonce,
    error: message.errorDetail === undefined ? undefined : message.errorDetail.message,
  }
}

/**
 * The resources of a refused response that its client names in its reason, as Envoy and our sidecar do; all of them
 * when it names none.
 */
export function blamedNames(names: readonly string[], reason: string): readonly string[] {
  const isNamed = (name: string) => reason.includes(`${name}: `) || reason.includes(`'${name}'`)
  const blamed = names.filter(isNamed)
  return blamed.length > 0 ? blamed : names
}

export function toResponseMessage(effect: SendEffect): DeltaDiscoveryResponse {
  return create(DeltaDiscoveryResponseSchema, {
    systemVersionInfo: effect.systemVersion,
    typeUrl: effect.typeUrl,
    resources: effect.resources.map((r) => ({
      name: r.name,
      version: r.version,
      resource: { typeUrl: effect.typeUrl, value: r.value },
    })),
    removedResources: [...effect.removed],
    nonce: effect.nonce,
  })
}

export function fromResponseMessage(
  message: DeltaDiscoveryResponse,
): Extract<ClientEvent, { kind: 'response' }> {
  return {
    kind: 'response',
    typeUrl: message.typeUrl,
    nonce: message.nonce,
    resources: message.resources.map((r) => ({
      name: r.name,
      version: r.version,
      value: r.resource?.value ?? new Uint8Array(),
    })),
    removed: message.removedResources,
    fault: findFault(message),
  }
}

/** Why a response can't be taken; undefined: it can. A resource without content would be a TTL's heartbeat. */
function findFault(message: DeltaDiscoveryResponse): string | undefined {
  for (const { name, resource } of message.resources) {
    if (resource === undefined) return `${name}: there is no content`
    if (resource.typeUrl !== message.typeUrl) return `${name}: its type is not the response's`
  }
  return undefined
}

/** `node` comes with the first request of a stream only. */
export function toRequestMessage(
  effect: Extract<ClientEffect, { kind: 'request' }>,
  node: { readonly id: string; readonly metadata?: JsonObject } | undefined,
): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, {
    ...(node === undefined ? {} : { node }),
    typeUrl: effect.typeUrl,
    resourceNamesSubscribe: [...effect.subscribe],
    initialResourceVersions: Object.fromEntries(effect.initialVersions),
    responseNonce: effect.nonce,
    ...(effect.error === undefined
      ? {}
      : { errorDetail: { code: INTERNAL, message: effect.error } }),
  })
}
