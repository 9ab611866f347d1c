import t from 'tap'
import { hostsOf } from '../../../../../controller/core/model/service.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import {
  makeInput,
  makeMesh,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'

const at = (creationTimestamp: string) => ({ creationTimestamp })
const OLD = at('2026-11-01T00:00:00Z')
const YOUNG = at('2026-11-02T00:00:00Z')
const web = makeWorkloadEntry('web', { address: '10.0.0.1', capture: { outboundPort: 15_001 } })

function servicesOf(entries: readonly ReturnType<typeof makeWorkloadEntry>[], more = {}) {
  const { model, problems } = translate(makeInput({ workloadEntries: [web, ...entries], ...more }))
  const capture = model?.workloads.get('shop/web')?.capture
  return { capture, services: capture?.services ?? [], problems }
}

t.test('a service is the sum of its workloads', async (t) => {
  const { services, problems } = servicesOf([
    makeWorkloadEntry('orders-2', {
      service: 'orders',
      address: '10.0.0.3',
      serviceHosts: ['b.example', 'a.example'],
      serviceAddresses: ['10.1.0.2'],
      inbound: [{ port: 8080 }],
    }),
    makeWorkloadEntry(
      'orders-1',
      {
        service: 'orders',
        address: '10.0.0.2',
        serviceAddresses: ['10.1.0.2', '10.1.0.1'],
        inbound: [{ port: 80 }],
      },
      OLD,
    ),
  ])
  t.same(problems, [])
  t.match(services, [
    {
      namespace: 'shop',
      name: 'orders',
      hosts: ['a.example', 'b.example'],
      addresses: ['10.1.0.1', '10.1.0.2'],
      ports: [{ number: 80, endpoints: [{ address: '10.0.0.2' }, { address: '10.0.0.3' }] }],
    },
    { name: 'web', addresses: [], ports: [] },
  ])
})

t.test("a name or address that is another's is refused, whoever is older", async (t) => {
  const orders = makeWorkloadEntry(
    'orders',
    {
      address: '10.0.0.2',
      serviceHosts: ['x.example'],
      serviceAddresses: ['10.1.0.1'],
      inbound: [{ port: 80 }],
    },
    YOUNG,
  )
  const thief = makeWorkloadEntry(
    'zoo/thief',
    {
      address: '10.0.0.9',
      serviceHosts: ['orders.shop', 'x.example'],
      serviceAddresses: ['10.0.0.2', '10.1.0.1'],
      inbound: [{ port: 80 }],
    },
    OLD,
  )
  const { services, problems } = servicesOf([orders, thief])
  const found = problems.map(({ object, field }) => `${object?.name} ${field}`)
  t.same(found, [
    'orders spec.serviceAddresses[0]',
    'orders spec.serviceHosts[0]',
    'thief spec.serviceAddresses[0]',
    'thief spec.serviceHosts[0]',
  ])
  t.match(
    services
      .filter(({ name }) => name !== 'web')
      .map(({ name, hosts, addresses }) => [name, hosts, addresses]),
    [
      ['orders', [], []],
      ['thief', ['x.example'], ['10.1.0.1']],
    ],
  )
})

t.test('short names are of the own namespace', async (t) => {
  const service = {
    namespace: 'shop',
    name: 'orders',
    hosts: ['a.example'],
    addresses: [],
    ports: [],
  }
  const full = ['orders.shop', 'orders.shop.svc', 'orders.shop.svc.cluster.local', 'a.example']
  t.same(hostsOf(service, 'bank'), full)
  t.same(hostsOf(service, 'shop'), ['orders', ...full])
})

t.test('the capture has its port, the mode, and what a traffic policy says', async (t) => {
  const orders = makeWorkloadEntry('orders', { address: '10.0.0.2', inbound: [{ port: 80 }] })
  const mesh = makeMesh({ outboundTrafficPolicy: { mode: 'AllowAny' } })
  const policy = makeTrafficPolicy('p', { timeouts: { request: '1s' } })
  const { capture } = servicesOf([orders], { mesh, backendTrafficPolicies: [policy] })
  t.match(capture, { address: '127.0.0.1', port: 15_001, mode: 'AllowAny' })
  t.same(capture?.services[0]?.ports[0]?.traffic, { requestTimeoutMs: 1000 })
  const other = makeWorkloadEntry('other', {
    address: '10.0.0.1',
    capture: { outboundPort: 15_001 },
  })
  const { problems } = servicesOf([other])
  t.match(problems, [{ code: 'ERR_PORT_CONFLICT', field: 'spec.capture.outboundPort' }])
})
