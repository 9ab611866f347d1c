import { BinaryWriter } from '@bufbuild/protobuf/wire'
import t from 'tap'
import { type DecisionSpan, encodeSpans } from '../../../../../sidecar/core/trace/decision-span.ts'
import { countSpans, rejectedSpans } from '../../../../../sidecar/core/trace/otlp.ts'

const span: DecisionSpan = {
  ...{ traceId: 'aa', parentId: 'bb', spanId: 'cc', startNs: 1n, endNs: 2n },
  attributes: {},
}

t.test('spans are counted without being decoded', async (t) => {
  t.equal(countSpans(encodeSpans('s', [])), 0)
  const two = encodeSpans('s', [span, span])
  t.equal(countSpans(Buffer.concat([two, encodeSpans('t', [span])])), 3)
  t.equal(countSpans(Buffer.from('no protobuf at all')), 0)
})

t.test('a collector may take a part', async (t) => {
  t.equal(rejectedSpans(Buffer.alloc(0)), 0)
  const partial = new BinaryWriter().tag(1, 0).int64(7).tag(2, 2).string('full').finish()
  t.equal(rejectedSpans(new BinaryWriter().tag(1, 2).bytes(partial).finish()), 7)
})
