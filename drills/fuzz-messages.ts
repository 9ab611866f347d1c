/**
 * What a hostile or broken client of delta xDS might write, drawn from a seed: requests that are valid, reordered,
 * doubled, cut, bent, nested, and bytes that are none. Pure: equal seeds and equal memories make equal bytes.
 */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { PUBLISH_ORDER } from '../common/xds.ts'
import { DeltaDiscoveryRequestSchema } from '../proto/gen/envoy/service/discovery/v3/discovery_pb.js'

/** Numbers ∈ [0,1) from a 32-bit seed (mulberry32). */
export class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = seed >>> 0
  }
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  below(n: number): number {
    return Math.floor(this.next() * n)
  }
  chance(p: number): boolean {
    return this.next() < p
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }
  some<T>(list: readonly T[], max: number): T[] {
    return Array.from({ length: this.below(max + 1) }, () => this.pick(list))
  }
  bytes(max: number): Buffer {
    return Buffer.from(Array.from({ length: this.below(max + 1) }, () => this.below(256)))
  }
}

/** What a client has seen, from which it makes things up. */
export interface Memory {
  readonly nodeId: string
  /** Node ids of others. */
  readonly others: readonly string[]
  /** Resource names, its own and others'. */
  readonly names: readonly string[]
  readonly nonces: readonly { readonly nonce: string; readonly typeUrl: string }[]
  readonly versions: readonly string[]
}

/** One write to the stream, and whether a server that keeps to the protocol ends the stream for it (as far as known). */
export interface Drawn {
  readonly kind: Kind
  /** gRPC frames, or what pretends to be. */
  readonly bytes: Buffer
}

const KINDS = {
  request: 60,
  repeat: 8,
  shuffled: 8,
  cut: 4,
  bent: 6,
  nested: 1,
  huge: 1,
  garbage: 5,
  frame: 5,
  empty: 2,
} as const
export type Kind = keyof typeof KINDS
const TOTAL = Object.values(KINDS).reduce((sum, weight) => sum + weight, 0)

const ODD_NAMES = [
  '',
  '*',
  '**',
  ' ',
  '../..',
  '__proto__',
  'constructor',
  'a\u0000b',
  '\u{10ffff}',
]
const ODD_TYPES = [
  '',
  'x',
  'type.googleapis.com/envoy.service.runtime.v3.Runtime',
  '__proto__',
  'type.googleapis.com/',
]

/** A client of one stream: `fair` ones write only what a server must put up with, so that their streams live long. */
export type Mood = 'fair' | 'wild'

export function draw(dice: Dice, memory: Memory, from: { mood: Mood; isFirst: boolean }): Drawn {
  const isSound = from.mood === 'fair' || (from.isFirst && dice.chance(0.8))
  const kind = isSound
    ? dice.pick(['request', 'request', 'request', 'repeat', 'shuffled'] as const)
    : drawKind(dice)
  return { kind, bytes: BUILD[kind](dice, memory, from) }
}

function drawKind(dice: Dice): Kind {
  let left = dice.below(TOTAL)
  for (const [kind, weight] of Object.entries(KINDS)) {
    left -= weight
    if (left < 0) return kind as Kind
  }
  return 'request'
}

interface From {
  readonly mood: Mood
  readonly isFirst: boolean
}

const BUILD: Readonly<Record<Kind, (dice: Dice, memory: Memory, from: From) => Buffer>> = {
  request: (dice, memory, from) => frame(request(dice, memory, from)),
  repeat(dice, memory, from) {
    const one = frame(request(dice, memory, from))
    return Buffer.concat(Array.from({ length: 2 + dice.below(6) }, () => one))
  },
  shuffled(dice, memory, from) {
    const some = Array.from({ length: 2 + dice.below(5) }, () => frame(request(dice, memory, from)))
    return Buffer.concat(some.sort(() => dice.next() - 0.5))
  },
  cut(dice, memory, from) {
    const whole = request(dice, memory, from)
    return frame(whole.subarray(0, dice.below(whole.length)))
  },
  bent(dice, memory, from) {
    const bytes = Buffer.from(request(dice, memory, from))
    for (let i = 1 + dice.below(4); i > 0; i--) bytes[dice.below(bytes.length)] = dice.below(256)
    return frame(bytes)
  },
  // Groups in groups, as a field that nobody knows.
  nested: (dice) => frame(Buffer.alloc(1000 + dice.below(20_000), 0x7b)),
  huge: (dice, memory) =>
    frame(
      encode({
        node: { id: memory.nodeId },
        typeUrl: dice.pick(PUBLISH_ORDER),
        resourceNamesSubscribe: Array.from({ length: 3000 }, (_, i) => `${dice.below(1e9)}-${i}`),
        initialResourceVersions: Object.fromEntries(
          Array.from({ length: 1000 }, (_, i) => [`v${i}`, `${dice.below(1e9)}`]),
        ),
      }),
    ),
  garbage: (dice) => frame(dice.bytes(200)),
  /** A header that lies about length or compression. */
  frame(dice) {
    const header = Buffer.alloc(5)
    header[0] = dice.below(4)
    header.writeUInt32BE(dice.pick([0, 1, 10, 1000, 2 ** 20, 2 ** 24, 2 ** 32 - 1]), 1)
    return Buffer.concat([header, dice.bytes(100)])
  },
  empty: () => frame(Buffer.alloc(0)),
}

function request(dice: Dice, memory: Memory, from: From): Uint8Array {
  const names = [...memory.names, ...ODD_NAMES]
  const isOdd = from.mood === 'wild' && dice.chance(0.05)
  const typeUrl = isOdd ? dice.pick(ODD_TYPES) : dice.pick(PUBLISH_ORDER)
  const answer = dice.chance(0.6) ? drawAnswer(dice, memory, typeUrl) : { nonce: '', typeUrl }
  return encode({
    ...drawNode(dice, memory, from),
    typeUrl: answer.typeUrl,
    resourceNamesSubscribe: dice.chance(0.5) ? dice.some(names, 6) : [],
    resourceNamesUnsubscribe: dice.chance(0.3) ? dice.some(names, 6) : [],
    initialResourceVersions: dice.chance(0.2)
      ? Object.fromEntries(
          dice.some(names, 6).map((name) => [name, dice.pick([...memory.versions, '', 'x'])]),
        )
      : {},
    responseNonce: answer.nonce,
    ...(dice.chance(0.2) ? { errorDetail: { code: 13, message: `${dice.pick(names)}: bad` } } : {}),
  })
}

/** Mostly a nonce that was seen lately, with its type: an answer indeed. Else one that is stale, of another type, or none. */
function drawAnswer(dice: Dice, { nonces }: Memory, typeUrl: string): Memory['nonces'][number] {
  const last = nonces.slice(-6)
  if (last.length > 0 && dice.chance(0.7)) return dice.pick(last)
  const { nonce } = dice.pick([...nonces, { nonce: '1' }, { nonce: 'no such nonce' }])
  return { nonce, typeUrl }
}

function drawNode(
  dice: Dice,
  { nodeId, others }: Memory,
  { mood, isFirst }: From,
): Pick<MessageInitShape<typeof DeltaDiscoveryRequestSchema>, 'node'> {
  const other = () => dice.pick([...others, '', 'a/b/c', `${nodeId}x`, nodeId.toUpperCase()])
  if (mood === 'fair') return isFirst || dice.chance(0.1) ? { node: { id: nodeId } } : {}
  if (isFirst) return { node: { id: dice.chance(0.85) ? nodeId : other() } }
  if (dice.chance(0.97)) return {}
  return { node: { id: dice.chance(0.5) ? nodeId : other() } }
}

function encode(init: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): Uint8Array {
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, init))
}

/** gRPC's length-prefixed message, not compressed. */
export function frame(message: Uint8Array): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(message.length, 1)
  return Buffer.concat([header, message])
}
