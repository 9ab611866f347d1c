/** Which traffic policy a refused cluster, route or listener is blamed on; the other kinds: status.test.ts. */
import t from 'tap'
import { TYPE_URLS } from '../../../../../common/xds.ts'
import type { BackendTrafficPolicy } from '../../../../../controller/core/crd/index.ts'
import { isBlamed } from '../../../../../controller/core/status/blame.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { makeInput, makeWorkloadEntry } from '../../../../kit/objects.ts'

const { model } = translate(makeInput({ workloadEntries: [makeWorkloadEntry('orders', {})] }))
const orders = model?.workloads.get('shop/orders')
if (orders === undefined) throw new Error('no workload')

function policy(service: string, more: object = {}): BackendTrafficPolicy {
  return {
    apiVersion: 'postern.dev/v1alpha1',
    kind: 'BackendTrafficPolicy',
    metadata: { name: 'p', namespace: 'shop' },
    spec: { targetRefs: [{ group: '', kind: 'Service', name: service }], ...more },
  }
}

t.test('a cluster or route of a service is its traffic policy’s', async (t) => {
  for (const typeUrl of [TYPE_URLS.cluster, TYPE_URLS.route]) {
    const nack = (name: string) => ({ typeUrl, names: [name], message: 'bad' })
    t.ok(isBlamed(policy('orders'), orders, nack('outbound/shop/orders/http')))
    t.notOk(isBlamed(policy('orders'), orders, nack('outbound/shop/web/http')))
    t.notOk(isBlamed(policy('orders'), orders, nack('outbound/other/orders/http')))
    t.notOk(isBlamed(policy('orders'), orders, nack('inbound/8080')))
  }
})

t.test('an inbound listener is the policy’s that limits it', async (t) => {
  const nack = { typeUrl: TYPE_URLS.listener, names: ['inbound/8080'], message: 'bad' }
  const limits = { limits: { maxRequestHeaderBytes: 1024 } }
  t.ok(isBlamed(policy('orders', limits), orders, nack))
  t.notOk(isBlamed(policy('orders'), orders, nack))
  t.notOk(isBlamed(policy('web', limits), orders, nack))
})
