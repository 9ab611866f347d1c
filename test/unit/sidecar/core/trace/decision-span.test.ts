import { fromBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { ExportTraceServiceRequestSchema } from '../../../../../proto/gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.js'
import type { DecisionFacts } from '../../../../../sidecar/core/decision-log/record.ts'
import { encodeSpans, toDecisionSpan } from '../../../../../sidecar/core/trace/decision-span.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'
const newId = () => 'c0ffee0000000001'

function factsOf(traceparent: string | undefined): DecisionFacts {
  return {
    lane: 'wasm',
    request: {
      decisionId: 'd-1',
      requestedBy: '',
      ...(traceparent === undefined ? {} : { traceparent }),
    },
    timeNs: 1_000_000_000n,
    revision: 'r',
    verdict: {
      ...{ allowed: false, policy: 'shop/p', rule: 'shop/p/rules[0]', reason: 'ERR_POLICY_ERROR' },
      ...{ shadow: [], failedOpen: [], result: null },
      error: { code: 'ERR_POLICY_ERROR', message: 'a secret of the policy' },
    },
    metrics: { timer_server_handler_ns: 250 },
  }
}

t.test('a decision of a recorded trace is a child of the question’s span', async (t) => {
  const span = toDecisionSpan(factsOf(`00-${TRACE}-${PARENT}-01`), newId)
  t.match(span, { traceId: TRACE, parentId: PARENT, spanId: newId(), endNs: 1_000_000_250n })
  const bytes = encodeSpans('orders.shop', span === undefined ? [] : [span])
  const [resource] = fromBinary(ExportTraceServiceRequestSchema, bytes).resourceSpans
  const [encoded] = resource?.instrumentationLibrarySpans[0]?.spans ?? []
  t.equal(Buffer.from(encoded?.parentSpanId ?? []).toString('hex'), PARENT)
  const named = encoded?.attributes.map(({ key, value }) => [key, value?.value.value])
  t.same(Object.fromEntries(named ?? []), {
    'postern.decision_id': 'd-1',
    'postern.result': 'deny',
    'postern.policy': 'shop/p',
    'postern.rule': 'shop/p/rules[0]',
    'postern.reason': 'ERR_POLICY_ERROR',
    'postern.bundle_revision': 'r',
    'error.type': 'ERR_POLICY_ERROR',
  })
  t.notMatch(Buffer.from(bytes).toString('latin1'), /a secret/)
})

t.test('what is not recorded costs nothing', async (t) => {
  const others = [undefined, '', 'x', `00-${TRACE}-${PARENT}-00`, `00-${TRACE}-${PARENT}-02`]
  for (const traceparent of others) t.equal(toDecisionSpan(factsOf(traceparent), newId), undefined)
  t.ok(toDecisionSpan(factsOf(`cc-${TRACE}-${PARENT}-03-more`), newId), 'a later version’s flags')
})
