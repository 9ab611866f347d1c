import t from 'tap'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { buildAppRoute, buildServiceRoute } from '../../../../../controller/core/xds/route.ts'
import {
  makeInput,
  makeRetries,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'

function routesFor(spec: Parameters<typeof makeTrafficPolicy>[1] | undefined) {
  const { model } = translate(
    makeInput({
      workloadEntries: [
        makeWorkloadEntry('web', { outbound: [{ port: 9001, service: 'orders' }] }),
        makeWorkloadEntry('orders', { inbound: [{ port: 8001 }] }),
      ],
      backendTrafficPolicies: spec === undefined ? [] : [makeTrafficPolicy('p', spec)],
    }),
  )
  const port = model?.workloads.get('shop/web')?.outbound[0]
  if (port === undefined) throw new Error('no outbound port')
  return buildServiceRoute(port)
}

t.test('the mark that forbids retries stays between proxies', async (t) => {
  t.same(routesFor(undefined).responseHeadersToRemove, ['x-envoy-ratelimited'])
})

t.test('one route, and with a retries section one for its methods before it', async (t) => {
  const one = routesFor({ timeouts: { request: '1s', idle: '0s' } }).virtualHosts[0]?.routes ?? []
  t.match(one, [{ action: { value: { timeout: { seconds: 1n }, idleTimeout: { seconds: 0n } } } }])
  t.equal(one.length, 1)
  const [retried, rest] = routesFor({ retries: makeRetries() }).virtualHosts[0]?.routes ?? []
  const matcher = { matchPattern: { value: { regex: 'DELETE|GET|HEAD|OPTIONS|PUT' } } }
  t.match(retried?.match?.headers, [{ headerMatchSpecifier: { value: matcher } }])
  t.same(rest?.match?.headers, [])
})

t.test('towards the app: no timeout, no retry; a body limit adds routes', async (t) => {
  const routes = buildAppRoute('inbound/8001').virtualHosts[0]?.routes ?? []
  t.match(routes, [{ action: { value: { timeout: { seconds: 0n }, retryPolicy: undefined } } }])
  t.equal(buildAppRoute('a', { maxRequestBodyBytes: 1 }).virtualHosts[0]?.routes.length, 3)
})
