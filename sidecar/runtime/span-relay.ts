/**
 * Spans on their way to the collector: Envoy's as they come, and the sidecar's own beside them, over one connection.
 * Bounded in memory and time, off every request's way; what is given up is counted and said, never lost in silence.
 *
 *   Envoy, check worker ──▶ queue (4 MiB) ──one at a time──▶ collector      full, refused, or 30 s without success: dropped
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type DecisionSpan, encodeSpans } from '../core/trace/decision-span.ts'
import { countSpans } from '../core/trace/otlp.ts'
import type { Log } from './xds-ports.ts'

/** Whom spans are for, as Envoy's configuration says. */
export interface SpanTarget {
  /** `host:port`. */
  readonly collector: string
  readonly service: string
}

export interface SpanSink {
  /** Resolves with how many of the spans the collector did not take. Rejects with whether it is worth trying again. */
  export(collector: string, request: Uint8Array, signal: AbortSignal): Promise<number>
  isTransient(error: unknown): boolean
  close(): void
}

export interface SpanFigures {
  readonly exported: number
  readonly dropped: number
}

interface Batch {
  readonly bytes: Uint8Array
  readonly spans: number
  readonly sinceMs: number
}

const MAX_QUEUED_BYTES = 4 * 1024 * 1024
/** Of the sidecar's own, while nobody has said yet whom they are for. */
const MAX_WAITING = 2048
const GIVE_UP_MS = 30_000
const FIRST_PAUSE_MS = 250
const MAX_PAUSE_MS = 5_000
/** While the collector is away: one line in the log for so long. */
const SAY_EVERY_MS = 60_000

export class SpanRelay {
  readonly name = 'span-relay'
  readonly #sink: SpanSink
  readonly #log: Log
  readonly #stopping = new AbortController()
  #queue: Batch[] = []
  #queuedBytes = 0
  #waiting: DecisionSpan[] = []
  #target: SpanTarget | undefined
  #sending: Promise<void> | undefined
  #figures: SpanFigures = { exported: 0, dropped: 0 }
  #saidAtMs = Number.NEGATIVE_INFINITY

  constructor(options: { readonly sink: SpanSink; readonly log: Log }) {
    this.#sink = options.sink
    this.#log = options.log
  }

  figures(): SpanFigures {
    return this.#figures
  }

  /** An encoded ExportTraceServiceRequest of Envoy's. */
  take(bytes: Uint8Array, target: SpanTarget): void {
    this.#target = target
    this.#enqueue(bytes, countSpans(bytes))
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length > 0) this.takeDecisions(waiting)
  }

  takeDecisions(spans: readonly DecisionSpan[]): void {
    if (this.#target !== undefined) {
      this.#enqueue(encodeSpans(this.#target.service, spans), spans.length)
      return
    }
    const room = MAX_WAITING - this.#waiting.length
    this.#waiting.push(...spans.slice(0, room))
    if (spans.length > room) this.drop(spans.length - room, 'nobody said yet whom spans are for')
  }

  /** Counts spans that were given up, here or before they came here. */
  drop(spans: number, reason: string): void {
    if (spans === 0) return
    this.#figures = { ...this.#figures, dropped: this.#figures.dropped + spans }
    const nowMs = performance.now()
    if (nowMs - this.#saidAtMs < SAY_EVERY_MS) return
    this.#saidAtMs = nowMs
    this.#log.warn({ reason, ...this.#figures }, 'spans dropped')
  }

  /** Sends what is queued, for at most `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, graceMs)
    await Promise.race([this.#sending, late.promise])
    clearTimeout(timer)
    this.#stopping.abort()
    const rest = this.#queue.reduce((sum, { spans }) => sum + spans, this.#waiting.length)
    this.drop(rest, 'the sidecar ends')
    this.#sink.close()
  }

  #enqueue(bytes: Uint8Array, spans: number): void {
    if (this.#stopping.signal.aborted || this.#queuedBytes + bytes.length > MAX_QUEUED_BYTES) {
      this.drop(spans, 'the collector takes too little')
      return
    }
    this.#queue.push({ bytes, spans, sinceMs: performance.now() })
    this.#queuedBytes += bytes.length
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined
    })
  }

  async #sendAll(): Promise<void> {
    let failures = 0
    for (let batch = this.#queue[0]; batch !== undefined; batch = this.#queue[0]) {
      const isDone = await this.#send(batch)
      if (this.#stopping.signal.aborted) return
      if (isDone) {
        this.#queue.shift()
        this.#queuedBytes -= batch.bytes.length
        failures = 0
      } else {
        failures += 1
        const pauseMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1))
        await delay(pauseMs, undefined, { signal: this.#stopping.signal }).catch(() => {})
      }
    }
  }

  /** False: to be tried again. */
  async #send({ bytes, spans, sinceMs }: Batch): Promise<boolean> {
    const collector = this.#target?.collector ?? ''
    try {
      const refused = await this.#sink.export(collector, bytes, this.#stopping.signal)
      this.#figures = { ...this.#figures, exported: this.#figures.exported + spans - refused }
      this.drop(refused, 'refused by the collector')
      return true
    } catch (error) {
      const isLate = performance.now() - sinceMs > GIVE_UP_MS
      if (this.#sink.isTransient(error) && !isLate) return false
      if (this.#stopping.signal.aborted) return false
      this.drop(spans, error instanceof Error ? error.message : String(error))
      return true
    }
  }
}
