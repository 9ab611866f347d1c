import t from 'tap'
import { MASK } from '../../../../../sidecar/core/decision-log/mask-query.ts'
import { formatTime, toDecisionRecord } from '../../../../../sidecar/core/decision-log/record.ts'

const LABELS = { id: 'i', version: '1', workload: 'orders', namespace: 'shop' }
const AT = '/input/attributes/request/http'

function inputWith(http: object, more: object = {}) {
  return { attributes: { source: { principal: 'p' }, request: { time: 1, http } }, ...more }
}

t.test('the record has OPA fields, and ours beside them', async (t) => {
  const record = toDecisionRecord(LABELS, {
    request: {
      decisionId: 'id',
      requestedBy: '1.2.3.4:5',
      source: 's',
      method: 'GET',
      path: '/x',
      host: 'h',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    },
    lane: 'wasm',
    timeNs: 1_605_865_667_722_473_001n,
    revision: 'r',
    input: inputWith({ headers: { cookie: 'a' } }),
    verdict: {
      allowed: false,
      policy: 'shop/p',
      rule: 'shop/p/rules[0]',
      reason: 'ERR_POLICY_ERROR',
      error: { code: 'ERR_POLICY_ERROR', message: 'm' },
      result: null,
      path: 'a/b',
      shadow: ['shop/s'],
      failedOpen: ['shop/f'],
      httpStatus: 503,
    },
    metrics: { timer_server_handler_ns: 5 },
  })
  t.same(record, {
    decision_id: 'id',
    timestamp: '2020-11-20T09:47:47.722473001Z',
    trace_id: '0af7651916cd43dd8448eb211c80319c',
    span_id: 'b7ad6b7169203331',
    type: 'openpolicyagent.org/decision_logs',
    path: 'a/b',
    labels: LABELS,
    bundles: { postern: { revision: 'r' } },
    input: inputWith({ headers: { cookie: MASK } }),
    result: null,
    error: { code: 'ERR_POLICY_ERROR', message: 'm' },
    requested_by: '1.2.3.4:5',
    metrics: { timer_server_handler_ns: 5 },
    masked: [`${AT}/headers/cookie`],
    postern: {
      lane: 'wasm',
      allowed: false,
      policy: 'shop/p',
      rule: 'shop/p/rules[0]',
      reason: 'ERR_POLICY_ERROR',
      httpStatus: 503,
      shadow: ['shop/s'],
      failedOpen: ['shop/f'],
      source: 's',
      method: 'GET',
      path: '/x',
      host: 'h',
    },
  })
})

t.test('what is not known is absent', async (t) => {
  const record = toDecisionRecord(LABELS, {
    request: { decisionId: 'id', requestedBy: '', traceparent: 'garbage' },
    lane: 'rbac',
    timeNs: 0n,
    verdict: {
      allowed: true,
      policy: 'default',
      reason: 'default-allow',
      result: true,
      shadow: [],
      failedOpen: [],
    },
    metrics: {},
  })
  t.same(record, {
    decision_id: 'id',
    timestamp: '1970-01-01T00:00:00.000000000Z',
    type: 'openpolicyagent.org/decision_logs',
    labels: LABELS,
    bundles: {},
    result: true,
    requested_by: '',
    metrics: {},
    postern: { lane: 'rbac', allowed: true, policy: 'default', reason: 'default-allow' },
  })
})

t.test('a time has nine digits', async (t) => {
  t.equal(formatTime(1_000_000_001n), '1970-01-01T00:00:01.000000001Z')
})
