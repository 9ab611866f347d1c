import { t } from 'tap'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { makeInput, makeWorkloadEntry } from '../../../../kit/objects.ts'

type Entries = ReturnType<typeof makeWorkloadEntry>[]

function outboundOf(...workloadEntries: Entries) {
  const { model, problems } = translate(makeInput({ workloadEntries }))
  return {
    outbound: model?.workloads.get('shop/web')?.outbound ?? [],
    problems: problems.map((p) => [p.code, p.object?.name, p.field]),
  }
}

const web = (outbound: { port: number; service: string; servicePort?: string; address?: string }) =>
  makeWorkloadEntry('web', { outbound: [outbound] })

t.test('all workloads of a service are endpoints, and their identities are pinned', async (t) => {
  const { outbound, problems } = outboundOf(
    web({ port: 9001, service: 'orders' }),
    makeWorkloadEntry('o2', {
      service: 'orders',
      serviceAccount: 'b',
      address: '127.0.0.3',
      inbound: [{ port: 2 }],
    }),
    makeWorkloadEntry('o1', {
      service: 'orders',
      serviceAccount: 'b',
      address: '127.0.0.2',
      inbound: [{ port: 2 }],
    }),
    makeWorkloadEntry('o3', {
      service: 'orders',
      serviceAccount: 'a',
      address: '127.0.0.2',
      inbound: [{ port: 1 }],
    }),
    makeWorkloadEntry('other/orders', { address: '127.0.0.9', inbound: [{ port: 2 }] }),
  )
  t.same(problems, [])
  t.match(outbound, [
    {
      endpoints: [
        { address: '127.0.0.2', port: 1 },
        { address: '127.0.0.2', port: 2 },
        { address: '127.0.0.3', port: 2 },
      ],
      serverIds: ['spiffe://shop.example/ns/shop/sa/a', 'spiffe://shop.example/ns/shop/sa/b'],
    },
  ])
})

t.test('a service elsewhere is namespace/name', async (t) => {
  const bank = makeWorkloadEntry('bank/pay', { inbound: [{ port: 1 }] })
  t.match(outboundOf(web({ port: 9001, service: 'bank/pay' }), bank), {
    problems: [],
    outbound: [
      {
        destination: { namespace: 'bank', service: 'pay', port: 'http' },
        serverIds: ['spiffe://shop.example/ns/bank/sa/pay'],
      },
    ],
  })
})

t.test('a service that is not there keeps its port, without anyone behind it', async (t) => {
  t.match(outboundOf(web({ port: 9001, service: 'orders' })), {
    problems: [['ERR_REFERENCE_NOT_FOUND', 'web', 'spec.outbound[0].service']],
    outbound: [{ port: 9001, protocol: 'HTTP', endpoints: [], serverIds: [] }],
  })
})

t.test('so does a port that the service does not have', async (t) => {
  const orders = makeWorkloadEntry('orders', { inbound: [{ port: 8001 }] })
  const result = outboundOf(web({ port: 9001, service: 'orders', servicePort: 'grpc' }), orders)
  t.same(result.problems, [['ERR_REFERENCE_NOT_FOUND', 'web', 'spec.outbound[0].servicePort']])
  t.same(result.outbound[0]?.endpoints, [])
})

t.test('the protocol is the one of the destination, or what the port says', async (t) => {
  const orders = makeWorkloadEntry('orders', { inbound: [{ port: 8001, protocol: 'GRPC' }] })
  t.equal(outboundOf(web({ port: 9001, service: 'orders' }), orders).outbound[0]?.protocol, 'GRPC')
  const tcp = makeWorkloadEntry('web', {
    outbound: [{ port: 9001, service: 'orders', protocol: 'TCP' }],
  })
  t.equal(outboundOf(tcp, orders).outbound[0]?.protocol, 'TCP')
})

t.test(
  'a workload that speaks another protocol than the oldest of its service is left out',
  async (t) => {
    const result = outboundOf(
      web({ port: 9001, service: 'orders' }),
      makeWorkloadEntry('o1', { service: 'orders', inbound: [{ port: 1 }] }),
      makeWorkloadEntry('o2', { service: 'orders', inbound: [{ port: 2, protocol: 'TCP' }] }),
    )
    t.same(result.problems, [['ERR_FIELD_VALUE', 'o2', 'spec.inbound[0].protocol']])
    t.same(result.outbound[0]?.serverIds, ['spiffe://shop.example/ns/shop/sa/o1'])
  },
)

t.test('a port that lost its listener is no endpoint', async (t) => {
  const result = outboundOf(
    web({ port: 9001, service: 'z' }),
    makeWorkloadEntry('a', { inbound: [{ port: 8001 }] }),
    makeWorkloadEntry('z', { inbound: [{ port: 8001, appPort: 1 }] }),
  )
  t.same(result.outbound[0]?.endpoints, [])
})

t.test('an outbound port is on loopback only', async (t) => {
  const orders = makeWorkloadEntry('orders', { inbound: [{ port: 8001 }] })
  for (const address of ['10.0.0.1', '0.0.0.0', 'localhost']) {
    const result = outboundOf(web({ port: 9001, service: 'orders', address }), orders)
    t.same(result, {
      problems: [['ERR_FIELD_VALUE', 'web', 'spec.outbound[0].address']],
      outbound: [],
    })
  }
  for (const address of ['127.9.9.9', '::1']) {
    t.same(outboundOf(web({ port: 9001, service: 'orders', address }), orders).problems, [])
  }
})
