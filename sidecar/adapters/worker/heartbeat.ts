/**
 * Signs of life of the check worker in shared memory: since when it works on a request, which one, and on which policy.
 * The worker writes, the main thread looks on; after the worker has ended, what stands here names its last request.
 *
 *   bytes 0–7   busy since (monotonic nanoseconds, 0: idle)     8–15  number of requests begun
 *   bytes 16–19 length of the request's text    20–23 length of the policy's text    24–  both texts
 */
import type { RequestSummary } from '../../core/decision-log/record.ts'
import type { Beat, LastRequest } from '../../runtime/check-ports.ts'

const HEADER_BYTES = 24
const TEXT_BYTES = 16_384
const POLICY_BYTES = 512

export class Heartbeat {
  readonly memory: SharedArrayBuffer
  readonly #clock: BigInt64Array
  readonly #lengths: Int32Array
  readonly #policy: Uint8Array
  readonly #request: Uint8Array

  constructor(memory = new SharedArrayBuffer(HEADER_BYTES + POLICY_BYTES + TEXT_BYTES)) {
    this.memory = memory
    this.#clock = new BigInt64Array(memory, 0, 2)
    this.#lengths = new Int32Array(memory, 16, 2)
    this.#policy = new Uint8Array(memory, HEADER_BYTES, POLICY_BYTES)
    this.#request = new Uint8Array(memory, HEADER_BYTES + POLICY_BYTES, TEXT_BYTES)
  }

  /** A request whose text is too long is named by its id and its caller alone. */
  begin(request: RequestSummary): void {
    const { decisionId, requestedBy, source } = request
    const length =
      write(this.#request, JSON.stringify(request)) ??
      write(this.#request, JSON.stringify({ decisionId, requestedBy, source }))
    Atomics.store(this.#lengths, 0, length ?? 0)
    Atomics.store(this.#lengths, 1, 0)
    Atomics.add(this.#clock, 1, 1n)
    Atomics.store(this.#clock, 0, process.hrtime.bigint())
  }

  enter(policy: string): void {
    Atomics.store(this.#lengths, 1, write(this.#policy, policy) ?? 0)
  }

  end(): void {
    Atomics.store(this.#clock, 0, 0n)
  }

  beat(): Beat {
    const since = Atomics.load(this.#clock, 0)
    return { busySinceNs: since === 0n ? undefined : since, sequence: Atomics.load(this.#clock, 1) }
  }

  /** What the worker worked on when it ended; undefined when it was idle. Only after it has ended. */
  last(): LastRequest | undefined {
    const requestLength = Atomics.load(this.#lengths, 0)
    if (this.beat().busySinceNs === undefined || requestLength === 0) return undefined
    const policy = read(this.#policy, Atomics.load(this.#lengths, 1))
    const request = parse(read(this.#request, requestLength))
    return request === undefined
      ? undefined
      : { request, policy: policy === '' ? undefined : policy }
  }
}

/** A worker that was ended while it wrote may leave half a text. */
function parse(text: string): RequestSummary | undefined {
  try {
    return JSON.parse(text) as RequestSummary
  } catch {
    return undefined
  }
}

/** Bytes written; undefined when the text doesn't fit. */
function write(target: Uint8Array, text: string): number | undefined {
  const { read: taken, written } = new TextEncoder().encodeInto(text, target)
  return taken === text.length ? written : undefined
}

/** TextDecoder takes no shared memory. */
function read(source: Uint8Array, length: number): string {
  return Buffer.from(source.slice(0, length)).toString()
}
