/**
 * The check worker's spans on their way to the main thread: many in one message, so that a decision costs a push.
 * In: spans. Out: lists, at most every 200 ms. How many are under way stands in shared memory: what a worker that is
 * ended takes with it is known.
 */
import type { DecisionSpan } from '../../core/trace/decision-span.ts'

const FLUSH_MS = 200
const MAX_AT_ONCE = 512

export class SpanBuffer {
  readonly #pending: SpansPending
  readonly #post: (spans: readonly DecisionSpan[]) => void
  #spans: DecisionSpan[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(pending: SpansPending, post: (spans: readonly DecisionSpan[]) => void) {
    this.#pending = pending
    this.#post = post
  }

  add(span: DecisionSpan): void {
    this.#pending.add(1)
    this.#spans.push(span)
    if (this.#spans.length >= MAX_AT_ONCE) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS).unref()
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const spans = this.#spans
    this.#spans = []
    if (spans.length > 0) this.#post(spans)
  }
}

/** Spans that a worker made and that have not come to the main thread. */
export class SpansPending {
  readonly memory: SharedArrayBuffer
  readonly #count: BigInt64Array

  constructor(memory = new SharedArrayBuffer(8)) {
    this.memory = memory
    this.#count = new BigInt64Array(memory)
  }

  add(spans: number): void {
    Atomics.add(this.#count, 0, BigInt(spans))
  }

  /** How many there were; from now on there are none. */
  reset(): number {
    return Number(Atomics.exchange(this.#count, 0, 0n))
  }
}
