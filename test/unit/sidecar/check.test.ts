import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import t from 'tap'
import {
  type CheckRequest,
  CheckRequestSchema,
  type CheckResponse,
} from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { type CheckDeps, createCheck } from '../../../sidecar/check.ts'
import type { DecisionFacts } from '../../../sidecar/core/decision-log/record.ts'
import type { RegoPrograms } from '../../../sidecar/core/policy/rego-call.ts'
import { makeAttributes, makeRegoPolicy, makeSet } from '../../kit/check.ts'

const REQUEST = fromJson(CheckRequestSchema, { attributes: makeAttributes({ path: '/x' }) })
const SET = makeSet([makeRegoPolicy(Buffer.from('x')).policy])

function world(over: Partial<CheckDeps> & { evaluate?: RegoPrograms['evaluate'] } = {}) {
  const events: string[] = []
  const logged: DecisionFacts[] = []
  const { evaluate = () => true, ...deps } = over
  const check = createCheck({
    chooseSet: () => ({ active: { revision: 'r', set: SET, programs: { evaluate } } }),
    watch: { begin: () => events.push('begin'), end: () => events.push('end') },
    log: (facts) => {
      events.push('log')
      logged.push(facts)
      return true
    },
    nowNs: () => 7n,
    newId: () => 'new-id',
    ...deps,
  })
  const call = (isBodyBuffered: boolean, isCancelled = false) => ({
    isBodyBuffered,
    isCancelled: () => isCancelled,
  })
  return {
    check: (request: CheckRequest, isBodyBuffered: boolean, isCancelled?: boolean) =>
      check(request, call(isBodyBuffered, isCancelled)),
    events,
    logged,
  }
}

function statusOf({ status, httpResponse }: CheckResponse): number {
  if (status?.code === 0) return httpResponse.case === 'okResponse' ? 200 : -1
  return httpResponse.case === 'deniedResponse' ? (httpResponse.value.status?.code ?? 0) : -1
}

t.test(
  'an answer is logged before it is given, and the watchdog knows the time between',
  async (t) => {
    const { check, events, logged } = world()
    t.equal(statusOf(check(REQUEST, true)), 200)
    t.same(events, ['begin', 'end', 'log'])
    t.match(logged, [
      { revision: 'r', request: { decisionId: 'new-id' }, verdict: { allowed: true } },
    ])
  },
)

t.test(
  'a CheckRequest without an HTTP request is refused, whatever the policies say',
  async (t) => {
    for (const attributes of [undefined, {}, { request: {} }]) {
      const request = fromJson(CheckRequestSchema, attributes === undefined ? {} : { attributes })
      const { check, logged } = world()
      t.equal(statusOf(check(request, true)), 400)
      t.match(logged, [{ verdict: { allowed: false, policy: 'guard/path' } }])
    }
  },
)

t.test('what cannot be logged is denied', async (t) => {
  const { check } = world({ log: () => false })
  const response = check(REQUEST, true)
  t.equal(statusOf(response), 503)
  t.match(response, { httpResponse: { value: { body: 'ERR_DECISION_LOG' } } })
})

t.test('whatever is thrown on the way is a denial that is logged', async (t) => {
  const bug = () => {
    throw new TypeError('bug')
  }
  for (const deps of [{ chooseSet: bug }, { watch: { begin: bug, end: () => undefined } }]) {
    const { check, logged } = world(deps)
    t.equal(statusOf(check(REQUEST, true)), 503)
    t.match(logged, [{ verdict: { allowed: false, reason: 'ERR_INTERNAL' } }])
  }
})

t.test('the watchdog is told of the end also after a failure', async (t) => {
  const { check, events } = world({
    chooseSet: () => {
      throw new Error('x')
    },
  })
  check(REQUEST, true)
  t.same(events, ['begin', 'end', 'log'])
})

t.test('without a set, or without the body that it reads: 503', async (t) => {
  for (const missing of ['ERR_NO_BUNDLE', 'ERR_BODY_NOT_BUFFERED'] as const) {
    const { check, logged } = world({ chooseSet: () => ({ missing }) })
    t.equal(statusOf(check(REQUEST, false)), 503)
    t.match(logged, [{ verdict: { reason: missing } }])
  }
})

t.test('a guard refuses before any policy is asked', async (t) => {
  const { check, logged } = world({ evaluate: () => t.fail('asked') })
  const bad = fromJson(CheckRequestSchema, { attributes: makeAttributes({ path: '/%zz' }) })
  t.equal(statusOf(check(bad, true)), 400)
  t.match(logged, [{ revision: 'r', verdict: { policy: 'guard/path' } }])
  t.equal(statusOf(check(fromJson(CheckRequestSchema, {}), true)), 400, 'an empty request')
})

t.test('a policy that does not say yes is a denial', async (t) => {
  for (const value of [false, undefined, null, 'true', 1, {}, { allowed: 'yes' }]) {
    const { check } = world({ evaluate: () => value })
    t.not(statusOf(check(REQUEST, true)), 200, JSON.stringify(value))
  }
})

t.test('late: Envoy has given up, so that the record is a refusal', async (t) => {
  const late = { logged: [{ verdict: { allowed: false, reason: 'ERR_POLICY_TIMEOUT' } }] }
  const cancelled = world()
  t.equal(statusOf(cancelled.check(REQUEST, true, true)), 503)
  t.match(cancelled, late)
  const times = [7n, 600_000_000n]
  const slow = world({ nowNs: () => times.shift() ?? 0n })
  t.equal(statusOf(slow.check(REQUEST, true)), 503)
  t.match(slow, late)
  const attributes = makeAttributes({ path: '/x' }) as { request: object }
  const request = { ...attributes.request, time: '2026-01-01T00:00:00Z' }
  const old = fromJson(CheckRequestSchema, { attributes: { ...attributes, request } as JsonValue })
  const startNs = BigInt(Date.parse('2026-01-01T00:00:00Z')) * 1_000_000n
  const queued = world({ nowNs: () => startNs + 501_000_000n })
  t.equal(statusOf(queued.check(old, true)), 503)
  t.match(queued, late)
  t.equal(statusOf(world({ nowNs: () => startNs + 499_000_000n }).check(old, true)), 200)
})

t.test('a body that was announced and did not come is not buffered', async (t) => {
  const rows: [object, boolean][] = [
    [{ headers: { upgrade: 'websocket', 'content-length': '5' } }, false],
    [{ headers: { upgrade: 'websocket', 'transfer-encoding': 'chunked' } }, false],
    [{ method: 'POST', headers: { upgrade: 'websocket' } }, false],
    [{ headers: { upgrade: 'websocket' } }, true],
    [{ method: 'POST', headers: { 'content-length': '5' }, body: 'a' }, true],
    [{ method: 'POST', headers: { 'content-length': '0' } }, true],
  ]
  for (const [http, expected] of rows) {
    let told: boolean | undefined
    const { check } = world({
      chooseSet: (isBodyBuffered) => {
        told = isBodyBuffered
        return { missing: 'ERR_BODY_NOT_BUFFERED' }
      },
    })
    const attributes = makeAttributes({ path: '/x', ...http })
    check(fromJson(CheckRequestSchema, { attributes }), true)
    t.equal(told, expected, JSON.stringify(http))
  }
})
