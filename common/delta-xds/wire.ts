/**
 * Between the delta-xDS messages of Envoy's API and the plain values of the reducers, both ways.
 * In: decoded protobuf-es messages. Out: events; and from effects, messages to send.
 * Source: envoy/service/discovery/v3/discovery.proto, DeltaDiscoveryRequest and DeltaDiscoveryResponse.
 */
import { create } from '@bufbuild/protobuf'
import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.js'
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
  }
}

export function toRequestMessage(
  effect: Extract<ClientEffect, { kind: 'request' }>,
  node: Pick<Node, 'id'>,
): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, {
    node: { id: node.id },
    typeUrl: effect.typeUrl,
    resourceNamesSubscribe: [...effect.subscribe],
    initialResourceVersions: Object.fromEntries(effect.initialVersions),
    responseNonce: effect.nonce,
    ...(effect.error === undefined
      ? {}
      : { errorDetail: { code: INTERNAL, message: effect.error } }),
  })
}
