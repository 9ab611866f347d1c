/**
 * One identity that writes drawn messages to an xDS server, over HTTP/2 by hand: streams that end are opened anew, now
 * and then it cancels, half-closes or drops its connection. Everything that comes back is read and judged: a response
 * that isn't the identity's own is a finding.
 */
import { once } from 'node:events'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { fromBinary } from '@bufbuild/protobuf'
import {
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { Dice, draw, type Kind, type Mood } from './fuzz-messages.ts'

export interface FuzzPeer {
  readonly name: string
  readonly nodeId: string
  readonly others: readonly string[]
  /** Names to ask for besides what it sees: its own and others'. */
  readonly names: readonly string[]
  /** Request headers besides method and path. */
  readonly headers: Readonly<Record<string, string>>
  /** A new connection. */
  connect(): ClientHttp2Session
  /** Why a response must not have come; undefined: it may. */
  judge(response: DeltaDiscoveryResponse): string | undefined
}

export interface FuzzResult {
  readonly sent: number
  readonly streams: number
  readonly connections: number
  readonly responses: number
  readonly kinds: Readonly<Partial<Record<Kind, number>>>
  readonly findings: readonly string[]
}

const PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources'
/** Messages before the server is waited for, so that it is really read from and the client's memory stays small. */
const BURST = 8
const KEPT = 200
/** A server that says nothing for so long while it is asked something is a finding. */
const SILENCE_MS = 20_000

/** Writes `count` messages. `onBurst` is called after each burst: time to publish something. */
export async function fuzz(
  peer: FuzzPeer,
  options: { readonly seed: number; readonly count: number; readonly onBurst: () => void },
): Promise<FuzzResult> {
  const run = new FuzzRun(peer, new Dice(options.seed))
  while (run.sent < options.count && run.findings.length === 0) {
    await run.burst()
    options.onBurst()
  }
  run.close()
  return run
}

class FuzzRun implements FuzzResult {
  sent = 0
  streams = 0
  connections = 0
  responses = 0
  readonly kinds: Partial<Record<Kind, number>> = {}
  readonly findings: string[] = []
  readonly #peer: FuzzPeer
  readonly #dice: Dice
  readonly #nonces: { nonce: string; typeUrl: string }[] = []
  readonly #versions: string[] = []
  readonly #names = new Set<string>()
  #session: ClientHttp2Session | undefined
  #stream: ClientHttp2Stream | undefined
  #isFirst = true
  #mood: Mood = 'fair'

  constructor(peer: FuzzPeer, dice: Dice) {
    this.#peer = peer
    this.#dice = dice
  }

  async burst(): Promise<void> {
    const stream = this.#openStream()
    for (let i = 0; i < BURST && !stream.destroyed && !stream.writableEnded; i++) {
      this.#send(stream)
      if (this.#dice.chance(0.004)) this.#leave(stream)
    }
    // The server has read what it wants when it has answered a ping that was sent after it.
    await this.#pinged()
  }

  close(): void {
    this.#session?.destroy()
  }

  #send(stream: ClientHttp2Stream): void {
    const { nodeId, others, names } = this.#peer
    const memory = {
      nodeId,
      others,
      names: [...names, ...this.#names],
      nonces: this.#nonces,
      versions: this.#versions,
    }
    const { kind, bytes } = draw(this.#dice, memory, { mood: this.#mood, isFirst: this.#isFirst })
    this.#isFirst = false
    this.kinds[kind] = (this.kinds[kind] ?? 0) + 1
    this.sent += 1
    // In two parts, so that frames arrive torn.
    const at = this.#dice.chance(0.2) ? this.#dice.below(bytes.length) : bytes.length
    stream.write(bytes.subarray(0, at))
    if (at < bytes.length) stream.write(bytes.subarray(at))
    // What was announced and never comes would swallow all that follows.
    if (kind === 'frame' && this.#dice.chance(0.3)) stream.end()
  }

  #leave(stream: ClientHttp2Stream): void {
    const way = this.#dice.below(3)
    if (way === 0) stream.close(8)
    if (way === 1) stream.end()
    if (way === 2) this.#session?.destroy()
  }

  #openStream(): ClientHttp2Stream {
    const open = this.#stream
    if (open !== undefined && !open.destroyed && !open.closed && !open.writableEnded) return open
    const session = this.#openSession()
    const stream = session.request({
      ':method': 'POST',
      ':path': PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...this.#peer.headers,
    })
    this.streams += 1
    this.#isFirst = true
    this.#mood = this.#dice.chance(0.6) ? 'fair' : 'wild'
    stream.on('error', () => {})
    const reader = new FrameReader((message) => this.#take(message))
    stream.on('data', (chunk: Buffer) => reader.push(chunk))
    stream.on('end', () => stream.end())
    this.#stream = stream
    return stream
  }

  #openSession(): ClientHttp2Session {
    const open = this.#session
    if (open !== undefined && !open.destroyed && !open.closed) return open
    const session = this.#peer.connect()
    session.on('error', () => {})
    this.connections += 1
    this.#session = session
    return session
  }

  #take(message: Buffer): void {
    this.responses += 1
    const response = fromBinary(DeltaDiscoveryResponseSchema, message)
    const complaint = this.#peer.judge(response)
    if (complaint !== undefined) this.findings.push(`${this.#peer.name}: ${complaint}`)
    remember(this.#nonces, { nonce: response.nonce, typeUrl: response.typeUrl })
    for (const { name, version } of response.resources) {
      if (this.#names.size < KEPT) this.#names.add(name)
      remember(this.#versions, version)
    }
  }

  async #pinged(): Promise<void> {
    const session = this.#session
    if (session === undefined || session.destroyed) return
    const done = new AbortController()
    const { signal } = done
    const timer = setTimeout(() => {
      this.findings.push(`${this.#peer.name}: the server fell silent`)
      done.abort()
    }, SILENCE_MS)
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve())
      const leave = () => done.abort()
      once(session, 'close', { signal }).then(leave, leave)
      if (session.connecting)
        once(session, 'connect', { signal }).then(() => ping(session, leave), leave)
      else ping(session, leave)
    })
    clearTimeout(timer)
  }
}

function ping(session: ClientHttp2Session, answered: () => void): void {
  if (session.destroyed || !session.ping(() => answered())) answered()
}

function remember<T>(list: T[], item: T): void {
  list.push(item)
  if (list.length > KEPT) list.shift()
}

/** gRPC frames out of chunks. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)
  readonly #onMessage: (message: Buffer) => void

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage
  }

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    while (this.#rest.length >= 5) {
      const end = 5 + this.#rest.readUInt32BE(1)
      if (this.#rest.length < end) return
      this.#onMessage(this.#rest.subarray(5, end))
      this.#rest = this.#rest.subarray(end)
    }
  }
}
