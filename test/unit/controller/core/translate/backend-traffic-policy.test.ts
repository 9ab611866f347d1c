import t from 'tap'
import { translateTrafficPolicies } from '../../../../../controller/core/translate/backend-traffic-policy.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import {
  makeInput,
  makeRetries,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'

const at = (creationTimestamp: string) => ({ creationTimestamp })
const NOV_1 = at('2026-11-01T00:00:00Z')
const NOV_2 = at('2026-11-02T00:00:00Z')
const service = (name: string) => [{ group: '', kind: 'Service', name }] as const
const subject = (name: string, namespace = 'shop') => ({
  namespace,
  name,
  service: name,
  serviceAccount: name,
  labels: {},
})

t.test('times become milliseconds, lists are sorted, what is absent stays so', async (t) => {
  const policy = makeTrafficPolicy('p', {
    timeouts: { connect: '1s', request: '0s' },
    retries: makeRetries({
      statusCodes: [503, 502, 404],
      methods: ['PUT', 'GET'],
      perTryTimeout: '1m',
    }),
    limits: { idleTimeout: '2m' },
  })
  const { trafficOf, problems } = translateTrafficPolicies([policy], [subject('orders')])
  t.strictSame(trafficOf('shop/orders'), {
    connectTimeoutMs: 1000,
    requestTimeoutMs: 0,
    retries: {
      attempts: 2,
      methods: ['GET', 'PUT'],
      onReset: true,
      onUnavailable: false,
      statusCodes: [502, 503],
      perTryTimeoutMs: 60_000,
    },
    limits: { idleTimeoutMs: 120_000 },
  })
  t.equal(trafficOf('shop/web'), undefined)
  t.same(problems, [])
})

t.test('the oldest of two counts, in any order; the younger is told', async (t) => {
  const old = makeTrafficPolicy('z', { timeouts: { request: '1s' } }, NOV_1)
  const young = makeTrafficPolicy('a', { timeouts: { request: '2s' } }, NOV_2)
  for (const objects of [
    [old, young],
    [young, old],
  ]) {
    const { trafficOf, problems } = translateTrafficPolicies(objects, [subject('orders')])
    t.match(trafficOf('shop/orders'), { requestTimeoutMs: 1000 })
    t.match(problems, [
      {
        code: 'ERR_POLICY_CONFLICT',
        object: { name: 'a' },
        field: 'spec.targetRefs[0]',
        message: /"z"/,
      },
    ])
    t.equal(problems.length, 1)
  }
})

t.test('a target is of its own namespace, and one that selects nothing is a problem', async (t) => {
  const policy = makeTrafficPolicy('p', { targetRefs: service('orders') })
  const { trafficOf, problems } = translateTrafficPolicies([policy], [subject('orders', 'bank')])
  t.equal(trafficOf('bank/orders'), undefined)
  t.match(problems, [{ code: 'ERR_TARGET_SELECTS_NOTHING', field: 'spec.targetRefs[0]' }])
})

t.test("it reaches the callers' outbound ports and the limits of the service's own", async (t) => {
  const { model } = translate(
    makeInput({
      workloadEntries: [
        makeWorkloadEntry('orders', { inbound: [{ port: 8001 }] }),
        makeWorkloadEntry('orders-2', { service: 'orders', inbound: [{ port: 8002 }] }),
        makeWorkloadEntry('bank/web', { outbound: [{ port: 9001, service: 'shop/orders' }] }),
        makeWorkloadEntry('other', { inbound: [{ port: 8003 }] }),
      ],
      backendTrafficPolicies: [
        makeTrafficPolicy('p', { timeouts: { request: '1s' }, limits: { maxRequestBodyBytes: 9 } }),
      ],
    }),
  )
  const inboundOf = (key: string) => model?.workloads.get(key)?.inbound[0]?.limits
  const limits = { maxRequestBodyBytes: 9 }
  t.same(inboundOf('shop/orders'), limits)
  t.same(inboundOf('shop/orders-2'), limits)
  t.equal(inboundOf('shop/other'), undefined)
  t.strictSame(model?.workloads.get('bank/web')?.outbound[0]?.traffic, {
    requestTimeoutMs: 1000,
    limits,
  })
})
