import t from 'tap'
import { type DecisionSpan, encodeSpans } from '../../../../sidecar/core/trace/decision-span.ts'
import { SpanRelay, type SpanSink } from '../../../../sidecar/runtime/span-relay.ts'
import { waitFor } from '../../../kit/wait.ts'

const SILENT = { debug() {}, info() {}, warn() {}, error() {} }
const TARGET = { collector: '127.0.0.1:4317', service: 'orders.shop' }
const span: DecisionSpan = {
  ...{ traceId: 'aa', parentId: 'bb', spanId: 'cc', startNs: 1n, endNs: 2n },
  attributes: {},
}
const spans = (count: number) => Array.from({ length: count }, () => span)

/** A collector that answers as told. */
class Sink implements SpanSink {
  readonly got: Uint8Array[] = []
  answer: () => Promise<number> = async () => 0

  async export(_: string, request: Uint8Array): Promise<number> {
    this.got.push(request)
    return this.answer()
  }

  isTransient(error: unknown): boolean {
    return (error as Error).message === 'away'
  }

  close(): void {}
}

function start(t: { teardown(f: () => Promise<void>): void }) {
  const sink = new Sink()
  const relay = new SpanRelay({ sink, log: SILENT })
  t.teardown(() => relay.stop(0))
  return { sink, relay }
}

t.test('own spans wait until Envoy says whom they are for', async (t) => {
  const { sink, relay } = start(t)
  relay.takeDecisions(spans(2))
  t.equal(sink.got.length, 0)
  relay.take(encodeSpans('orders.shop', spans(3)), TARGET)
  await waitFor(() => relay.figures().exported === 5)
  relay.takeDecisions(spans(1))
  await waitFor(() => relay.figures().exported === 6)
  t.equal(relay.figures().dropped, 0)
})

t.test('a collector that is away is asked again, one that refuses is not', async (t) => {
  const { sink, relay } = start(t)
  sink.answer = async () => {
    throw new Error(sink.got.length < 3 ? 'away' : 'no')
  }
  relay.take(encodeSpans('orders.shop', spans(4)), TARGET)
  await waitFor(() => relay.figures().dropped === 4)
  t.equal(sink.got.length, 3)
  sink.answer = async () => 1
  relay.take(encodeSpans('orders.shop', spans(4)), TARGET)
  await waitFor(() => relay.figures().exported === 3)
  t.equal(relay.figures().dropped, 5, 'one was refused')
})

t.test('memory is bounded, and what is too much is counted', async (t) => {
  const { sink, relay } = start(t)
  relay.takeDecisions(spans(3000))
  t.equal(relay.figures().dropped, 3000 - 2048)
  sink.answer = () => new Promise(() => {})
  const big = encodeSpans('x'.repeat(1024 * 1024), spans(1))
  for (let i = 0; i < 10; i++) relay.take(big, TARGET)
  const { dropped } = relay.figures()
  t.ok(dropped >= 3000 - 2048 + 6, `${dropped} dropped`)
})

t.test('the end sends what it can, and counts the rest', async (t) => {
  const sink = new Sink()
  sink.answer = () => Promise.reject(new Error('away'))
  const relay = new SpanRelay({ sink, log: SILENT })
  relay.take(encodeSpans('orders.shop', spans(2)), TARGET)
  await relay.stop(10)
  t.same(relay.figures(), { exported: 0, dropped: 2 })
})
