/**
 * What was written to one gRPC stream and is not yet on the wire: HTTP/2 flow control as a number. In: messages with
 * their size. Out: whether the reader is behind, and a call when it has caught up. It holds no message itself.
 */

/** The part of a grpc-js stream that is needed. */
export interface OutflowCall {
  write(message: unknown, written: () => void): boolean
  pause(): unknown
  resume(): unknown
}

/** About one HTTP/2 window: a reader that is slower than this is waited for. */
const LIMIT_BYTES = 64 * 1024

export class Outflow {
  readonly #call: OutflowCall
  readonly #onDrain: () => void
  #bytes = 0
  #isBehind = false

  /** `onDrain` is called each time that everything is on the wire after the reader was behind. */
  constructor(call: OutflowCall, onDrain: () => void = () => {}) {
    this.#call = call
    this.#onDrain = onDrain
  }

  /** Written and not yet on the wire. */
  bytes(): number {
    return this.#bytes
  }

  /** Nothing more should be written, unless it must. Meanwhile the peer is not listened to. */
  isBehind(): boolean {
    return this.#isBehind
  }

  write(message: unknown, bytes: number): void {
    this.#bytes += bytes
    this.#call.write(message, () => this.#written(bytes))
    if (this.#isBehind || this.#bytes <= LIMIT_BYTES) return
    this.#isBehind = true
    this.#call.pause()
  }

  #written(bytes: number): void {
    this.#bytes -= bytes
    if (!this.#isBehind || this.#bytes > 0) return
    this.#isBehind = false
    this.#call.resume()
    this.#onDrain()
  }
}
