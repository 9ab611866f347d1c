import t from 'tap'
import { TYPE_URLS, type XdsSnapshot } from '../../../../../common/xds.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../../../../controller/core/xds/snapshot.ts'
import { makeInput, makeMesh, makeWorkloadEntry } from '../../../../kit/objects.ts'
import { toXdsJson } from '../../../../kit/xds-json.ts'

interface Chains {
  readonly filterChains: readonly { readonly name: string }[]
  readonly filterChainMatcher: unknown
}

function snapshotOf(mode: 'RegistryOnly' | 'AllowAny', addresses: readonly string[]): XdsSnapshot {
  const orders = addresses.map((address, i) =>
    makeWorkloadEntry(`orders-${i}`, {
      service: 'orders',
      serviceAccount: 'orders',
      address,
      serviceAddresses: ['10.1.0.1'],
      inbound: [{ port: 8080 }, { name: 'db', port: 5432, protocol: 'TCP' }],
    }),
  )
  const web = makeWorkloadEntry('web', { address: '10.0.0.1', capture: { outboundPort: 15_001 } })
  const { model } = translate(
    makeInput({
      mesh: makeMesh({ outboundTrafficPolicy: { mode } }),
      workloadEntries: [web, ...orders],
    }),
  )
  const workload = model?.workloads.get('shop/web')
  if (model === undefined || workload === undefined) throw new Error('no workload')
  return buildSnapshot(workload, model.mesh, { trustBundle: [Uint8Array.of(1)] })
}

function listenerOf(snapshot: XdsSnapshot): Chains {
  return toXdsJson(snapshot, TYPE_URLS.listener)[0] as unknown as Chains
}

const names = (snapshot: XdsSnapshot, type: (typeof TYPE_URLS)[keyof typeof TYPE_URLS]) => [
  ...(snapshot.resources.get(type)?.keys() ?? []),
]

t.test('a chain for each way, and nothing that nobody uses', async (t) => {
  const snapshot = snapshotOf('RegistryOnly', ['10.0.0.2'])
  const http = ['direct/shop/orders/http', 'outbound/shop/orders/http']
  const db = ['direct/shop/orders/db', 'outbound/shop/orders/db']
  const chains = listenerOf(snapshot).filterChains.map(({ name }) => name)
  t.same([...chains].sort(), [...http, ...db, 'host/8080', 'outbound/blocked'].sort())
  t.same(names(snapshot, TYPE_URLS.cluster).sort(), [...http, ...db, 'outbound/blocked'].sort())
  t.same(names(snapshot, TYPE_URLS.route).sort(), [...http, 'host/8080'].sort())
})

t.test('AllowAny adds the way out', async (t) => {
  const snapshot = snapshotOf('AllowAny', ['10.0.0.2'])
  t.ok(names(snapshot, TYPE_URLS.cluster).includes('outbound/passed'))
  t.match(JSON.stringify(toXdsJson(snapshot, TYPE_URLS.route)), /"cluster":"outbound\/passed"/)
})

t.test('endpoints that come and go change the matcher, and no chain', async (t) => {
  const one = listenerOf(snapshotOf('RegistryOnly', ['10.0.0.2']))
  const two = listenerOf(snapshotOf('RegistryOnly', ['10.0.0.2', '10.0.0.3']))
  t.strictSame(two.filterChains, one.filterChains)
  t.notSame(two.filterChainMatcher, one.filterChainMatcher)
  t.match(JSON.stringify(two.filterChainMatcher), /"10\.0\.0\.3"/)
})
