/**
 * A delta-xDS stream as a test drives it, over real gRPC: requests by hand, responses in their order, and a barrier that
 * proves that nothing else was sent. It decides nothing by itself: an ACK is the test's to give.
 */
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import type * as grpc from '@grpc/grpc-js'
import { TYPE_URLS } from '../../common/xds.ts'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { waitFor } from './wait.ts'

export type ShortType = keyof typeof TYPE_URLS

/** A type that nobody serves: its names are answered at once as absent, after everything else that is due. */
const BARRIER = 'type.googleapis.com/postern.test.Barrier'
export const ADS = 'envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources'

export interface Asks {
  /** A short name of common/xds.ts, or a type URL. Default: listener. */
  readonly type?: ShortType | (string & {})
  readonly subscribe?: readonly string[]
  readonly unsubscribe?: readonly string[]
  readonly initial?: Readonly<Record<string, string>>
  readonly nonce?: string
  readonly error?: string
  readonly node?: string
}

/** Who opens a stream, over which connection, with what in its metadata. */
export interface XdsPeer {
  readonly client: grpc.Client
  readonly metadata: grpc.Metadata
  readonly nodeId: string
}

export class XdsStream {
  readonly call: grpc.ClientDuplexStream<DeltaDiscoveryRequest | Buffer, DeltaDiscoveryResponse>
  /** Everything that came and was not taken yet, barriers left out. */
  readonly responses: DeltaDiscoveryResponse[] = []
  status: grpc.StatusObject | undefined
  #barriers = 0
  #passed = 0
  /** Sent with the first request only. */
  #nodeId: string | undefined

  constructor(peer: XdsPeer, method = ADS) {
    const { client, metadata } = peer
    this.#nodeId = peer.nodeId
    this.call = client.makeBidiStreamRequest(
      `/${method}`,
      (m: DeltaDiscoveryRequest | Buffer) =>
        Buffer.isBuffer(m) ? m : Buffer.from(toBinary(DeltaDiscoveryRequestSchema, m)),
      (bytes: Buffer) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
      metadata,
    )
    this.call.on('data', (response: DeltaDiscoveryResponse) => this.#take(response))
    this.call.on('error', () => {})
    this.call.on('status', (status: grpc.StatusObject) => {
      this.status = status
    })
  }

  #take(response: DeltaDiscoveryResponse): void {
    if (response.typeUrl !== BARRIER) {
      this.responses.push(response)
      return
    }
    this.#passed += response.removedResources.length
    this.send({ type: BARRIER, nonce: response.nonce })
  }

  send(asks: Asks): void {
    const { type = 'listener', subscribe = [], unsubscribe = [], initial = {} } = asks
    const node = asks.node ?? this.#nodeId
    this.#nodeId = undefined
    const message: MessageInitShape<typeof DeltaDiscoveryRequestSchema> = {
      typeUrl: urlOf(type),
      resourceNamesSubscribe: [...subscribe],
      resourceNamesUnsubscribe: [...unsubscribe],
      initialResourceVersions: { ...initial },
      responseNonce: asks.nonce ?? '',
      ...(node === undefined ? {} : { node: { id: node } }),
      ...(asks.error === undefined ? {} : { errorDetail: { code: 3, message: asks.error } }),
    }
    this.call.write(create(DeltaDiscoveryRequestSchema, message))
  }

  /** The next response, in the order of their arrival. */
  async next(): Promise<DeltaDiscoveryResponse> {
    await waitFor(() => this.responses.length > 0, { what: 'a response' })
    return this.responses.shift() as DeltaDiscoveryResponse
  }

  ack(response: DeltaDiscoveryResponse): void {
    this.send({ type: response.typeUrl, nonce: response.nonce })
  }

  nack(response: DeltaDiscoveryResponse, error: string): void {
    this.send({ type: response.typeUrl, nonce: response.nonce, error })
  }

  /** The next response, ACKed, in short. */
  async taken(): Promise<readonly string[]> {
    const response = await this.next()
    this.ack(response)
    return brief(response)
  }

  /** Everything that the server had to say until it had read all that was sent; takes it. */
  async rest(): Promise<readonly DeltaDiscoveryResponse[]> {
    this.#barriers += 1
    this.send({ type: BARRIER, subscribe: [`barrier-${this.#barriers}`] })
    await waitFor(() => this.#passed >= this.#barriers, { what: 'the barrier' })
    return this.responses.splice(0)
  }

  /** All that is to be had, each response ACKed as it comes, in short. */
  async drained(): Promise<readonly string[]> {
    const all: string[] = []
    for (;;) {
      const rest = await this.rest()
      if (rest.length === 0) return all
      for (const response of rest) {
        all.push(...brief(response))
        this.ack(response)
      }
    }
  }

  ended(): Promise<grpc.StatusObject> {
    return waitFor(() => this.status, { what: 'the end of the stream' })
  }
}

export function urlOf(type: string): string {
  return TYPE_URLS[type as ShortType] ?? type
}

/** `name@content` and `-removed`; content as text. */
export function brief(response: DeltaDiscoveryResponse): readonly string[] {
  return [
    ...response.resources.map(
      ({ name, resource }) => `${name}@${Buffer.from(resource?.value ?? [])}`,
    ),
    ...response.removedResources.map((name) => `-${name}`),
  ]
}

/** `type` in short. */
export function typeOf({ typeUrl }: { readonly typeUrl: string }): string {
  return Object.entries(TYPE_URLS).find(([, url]) => url === typeUrl)?.[0] ?? typeUrl
}
