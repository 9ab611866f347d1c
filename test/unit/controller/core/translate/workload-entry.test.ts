import { t } from 'tap'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { makeInput, makePolicy, makeWorkloadEntry } from '../../../../kit/objects.ts'

type Entries = ReturnType<typeof makeWorkloadEntry>[]

function run(...workloadEntries: Entries) {
  const { model, problems } = translate(makeInput({ workloadEntries }))
  return {
    problems: problems.map((p) => [p.code, p.object?.name, p.field]),
    workload: (key: string) => model?.workloads.get(key),
  }
}

t.test('refuses the identity of the controller', async (t) => {
  const spy = makeWorkloadEntry('postern-system/spy', { serviceAccount: 'postern-controller' })
  const { problems, workload } = run(spy)
  t.same(problems, [['ERR_SPIFFE_ID', 'spy', 'spec.serviceAccount']])
  t.equal(workload('postern-system/spy'), undefined)
  const other = makeWorkloadEntry('shop/spy', { serviceAccount: 'postern-controller' })
  t.same(run(other).problems, [], 'elsewhere the name is free')
})

t.test('refuses an identity that is no SPIFFE id', async (t) => {
  const { problems, workload } = run(makeWorkloadEntry('w', { serviceAccount: 'a/../b' }))
  t.same(problems, [['ERR_SPIFFE_ID', 'w', 'spec.serviceAccount']])
  t.equal(workload('shop/w'), undefined)
})

t.test('a refused workload is still what a policy is attached to', async (t) => {
  const workloadEntries = [makeWorkloadEntry('w', { serviceAccount: 'a/../b' })]
  const policies = [
    { object: makePolicy('p', { targetRefs: [{ group: '', kind: 'Service', name: 'w' }] }) },
  ]
  const { problems } = translate(makeInput({ workloadEntries, policies }))
  t.same(
    problems.map((p) => p.object?.kind),
    ['WorkloadEntry'],
  )
})

for (const address of ['0.0.0.0', '::', 'localhost', '127.1', '::ffff:127.0.0.1', '']) {
  t.test(`refuses the address "${address}"`, async (t) => {
    t.same(run(makeWorkloadEntry('w', { address })).problems, [
      ['ERR_FIELD_VALUE', 'w', 'spec.address'],
    ])
    const inbound = [{ port: 8001 }, { name: 'b', port: 8002, appAddress: address }]
    const { problems, workload } = run(makeWorkloadEntry('w', { inbound }))
    t.same(problems, [['ERR_FIELD_VALUE', 'w', 'spec.inbound[1].appAddress']])
    t.same(
      workload('shop/w')?.inbound.map((p) => p.port),
      [8001],
    )
  })
}

t.test('addresses are written in one way', async (t) => {
  const { workload } = run(makeWorkloadEntry('w', { address: '0:0::0:1', inbound: [{ port: 1 }] }))
  t.equal(workload('shop/w')?.inbound[0]?.address, '::1')
})
