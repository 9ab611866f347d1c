/**
 * HTTP/2 by hand: frames as they are written, for requests that no library would send and for load that costs little.
 * Header blocks are literals without indexing, so equal requests are equal bytes. Reads frames and `:status`, no more.
 * Source: RFC 9113 §4, RFC 7541 §6.2.2.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'

export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const HEAD = 9

export type HeaderPair = readonly [name: string, value: string]

export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** A header block; one character is one byte, and order and repetition are kept. */
export function headerBlock(pairs: readonly HeaderPair[]): Buffer {
  return Buffer.concat(pairs.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]))
}

/** One HEADERS frame, or as many CONTINUATION frames behind it as the block needs. */
export function headersFrames(
  stream: number,
  pairs: readonly HeaderPair[],
  isEnd: boolean,
): Buffer {
  const block = headerBlock(pairs)
  const parts: Buffer[] = []
  for (let at = 0; at === 0 || at < block.length; at += 16_384) {
    const isFirst = at === 0
    const flags =
      (at + 16_384 >= block.length ? FLAG.endHeaders : 0) | (isFirst && isEnd ? FLAG.endStream : 0)
    const type = isFirst ? FRAME.headers : FRAME.continuation
    parts.push(frame(type, flags, stream, block.subarray(at, at + 16_384)))
  }
  return Buffer.concat(parts)
}

/** The client's preface with empty settings. */
export function preface(): Buffer {
  return Buffer.concat([Buffer.from(PREFACE), frame(FRAME.settings, 0, 0, Buffer.alloc(0))])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  return Buffer.concat([length(bytes.length), bytes])
}

/** RFC 7541 §5.1 with a prefix of seven bits. */
function length(value: number): Buffer {
  if (value < 127) return Buffer.of(value)
  const bytes = [127]
  let rest = value - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  return Buffer.from([...bytes, rest])
}

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** Calls back with each whole frame that a socket brings. */
export function onFrames(socket: Socket, each: (frame: Frame) => void): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    while (bytes.length - at >= HEAD) {
      const end = at + HEAD + bytes.readUIntBE(at, 3)
      if (bytes.length < end) break
      each({
        type: bytes[at + 3] ?? 0,
        flags: bytes[at + 4] ?? 0,
        stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
        payload: bytes.subarray(at + HEAD, end),
      })
      at = end
    }
    rest = bytes.subarray(at)
  })
}

/** `:status` of a header block that begins with it, on a connection whose first answer it is. */
export function statusOf(block: Buffer): number {
  const [first = 0, size = 0] = block
  const fixed: Readonly<Record<number, number>> = { 8: 200, 9: 204, 12: 400, 13: 404, 14: 500 }
  if (first >= 0x80) return fixed[first & 0x7f] ?? 0
  const value = block.subarray(2, 2 + (size & 0x7f))
  return Number(size >= 0x80 ? huffmanDigits(value) : value.toString('latin1'))
}

/** RFC 7541, appendix B: `0`–`2` have five bits, `3`–`9` six. */
function huffmanDigits(bytes: Buffer): string {
  let bits = [...bytes].map((b) => b.toString(2).padStart(8, '0')).join('')
  let digits = ''
  while (digits.length < 3 && bits !== '') {
    const five = Number.parseInt(bits.slice(0, 5), 2)
    const isShort = five <= 2
    digits += isShort ? five : Number.parseInt(bits.slice(0, 6), 2) - 0b011001 + 3
    bits = bits.slice(isShort ? 5 : 6)
  }
  return digits
}

/**
 * Sends the same request over and over on one connection, `inFlight` at a time, with almost no work of its own.
 * In: a connected socket (TLS with ALPN h2) and the request's headers.
 */
export class H2Load {
  readonly #socket: Socket
  readonly #gone: Promise<never>
  #nextStream = 1
  #wanted = 0
  #allowed = 0
  #done: ((allowed: number) => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    // Denials have a body: a window that isn't opened wide would be full after some thousand of them.
    const window = Buffer.from([0x7f, 0xff, 0, 0])
    socket.write(Buffer.concat([preface(), frame(FRAME.window, 0, 0, window)]))
    onFrames(socket, (got) => this.#take(got))
    this.#gone = once(socket, 'close').then(() => {
      throw new Error('Envoy closed the connection')
    })
    // Not asked for between batches.
    this.#gone.catch(() => {})
  }

  /** Sends `count` requests; how many were answered 200. */
  async send(pairs: readonly HeaderPair[], count: number, inFlight: number): Promise<number> {
    let allowed = 0
    for (let sent = 0; sent < count; sent += inFlight) {
      allowed += await this.#batch(pairs, Math.min(inFlight, count - sent))
    }
    return allowed
  }

  close(): void {
    this.#socket.destroy()
  }

  async #batch(pairs: readonly HeaderPair[], count: number): Promise<number> {
    const one = headersFrames(1, pairs, true)
    const all = Buffer.alloc(one.length * count)
    for (let i = 0; i < count; i++) {
      one.copy(all, i * one.length)
      all.writeUInt32BE(this.#nextStream, i * one.length + 5)
      this.#nextStream += 2
    }
    this.#wanted = count
    this.#allowed = 0
    const answered = new Promise<number>((resolve) => {
      this.#done = resolve
    })
    this.#socket.write(all)
    return Promise.race([answered, this.#gone])
  }

  #take({ type, flags, payload }: Frame): void {
    if (type === FRAME.settings && (flags & FLAG.ack) === 0) {
      this.#socket.write(frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0)))
    }
    if (type === FRAME.headers && payload[0] === 0x88) this.#allowed++
    if (type === FRAME.goaway) this.#socket.destroy()
    const isEnd = (type === FRAME.headers || type === FRAME.data) && (flags & FLAG.endStream) !== 0
    if (isEnd && --this.#wanted === 0) this.#done?.(this.#allowed)
  }
}
