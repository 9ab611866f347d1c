import { t } from 'tap'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { makeInput, makeWorkloadEntry } from '../../../../kit/objects.ts'

type Entries = ReturnType<typeof makeWorkloadEntry>[]

function run(...workloadEntries: Entries) {
  const { model, problems } = translate(makeInput({ workloadEntries }))
  const ports = [...(model?.workloads.values() ?? [])].map((w) => [
    w.name,
    ...w.inbound.map((p) => p.port),
    ...w.outbound.map((p) => p.port),
  ])
  return {
    ports,
    conflicts: problems
      .filter((p) => p.code === 'ERR_PORT_CONFLICT')
      .map((p) => [p.object?.name, p.field]),
  }
}

const at = (creationTimestamp: string) => ({ creationTimestamp })

t.test('the later by name loses an address and port that two listen on', async (t) => {
  t.same(
    run(
      makeWorkloadEntry('b', { inbound: [{ port: 8001 }] }),
      makeWorkloadEntry('a', { inbound: [{ port: 8001 }] }),
    ),
    {
      ports: [['a', 8001], ['b']],
      conflicts: [['b', 'spec.inbound[0].port']],
    },
  )
})

t.test('a new workload never takes the port of an older one', async (t) => {
  const old = makeWorkloadEntry('z', { inbound: [{ port: 8001 }] }, at('2026-01-01T00:00:00Z'))
  const young = makeWorkloadEntry('a', { inbound: [{ port: 8001 }] }, at('2026-01-02T00:00:00Z'))
  t.same(run(old, young).ports, [['a'], ['z', 8001]])
})

t.test('inbound and outbound listeners count alike', async (t) => {
  const a = makeWorkloadEntry('a', { inbound: [{ port: 8001 }] })
  const b = makeWorkloadEntry('b', { outbound: [{ port: 8001, service: 'a' }] })
  t.same(run(a, b).conflicts, [['b', 'spec.outbound[0].port']])
})

t.test('another address is another place', async (t) => {
  const a = makeWorkloadEntry('a', { inbound: [{ port: 8001 }] })
  const b = makeWorkloadEntry('b', { address: '127.0.0.2', inbound: [{ port: 8001, appPort: 1 }] })
  t.same(run(a, b).conflicts, [])
})

t.test("another machine's loopback is another place", async (t) => {
  const to = (service: string) => ({ outbound: [{ port: 9001, service }] })
  const a = makeWorkloadEntry('a', { address: '10.0.0.1', inbound: [{ port: 1 }], ...to('b') })
  const b = makeWorkloadEntry('b', { address: '10.0.0.2', inbound: [{ port: 1 }], ...to('a') })
  t.same(run(a, b).conflicts, [])
  const c = makeWorkloadEntry('c', { address: '10.0.0.2', ...to('a') })
  t.same(run(a, b, c).conflicts, [['c', 'spec.outbound[0].port']])
})

t.test('a listener never stands where an app does', async (t) => {
  const self = makeWorkloadEntry('a', { inbound: [{ port: 8001, appPort: 8001 }] })
  t.same(run(self), { ports: [['a']], conflicts: [['a', 'spec.inbound[0].appPort']] })
  const app = makeWorkloadEntry('a', { inbound: [{ port: 8001, appPort: 8002 }] })
  const listener = makeWorkloadEntry('b', { inbound: [{ port: 8002 }] })
  t.same(run(app, listener).conflicts, [['b', 'spec.inbound[0].port']])
})

t.test('two workloads may share an app', async (t) => {
  const a = makeWorkloadEntry('a', { inbound: [{ port: 8001, appPort: 1 }] })
  const b = makeWorkloadEntry('b', { inbound: [{ port: 8002, appPort: 1 }] })
  t.same(run(a, b).conflicts, [])
})

t.test('a workload has one outbound listener per port', async (t) => {
  const outbound = [
    { name: 'one', port: 9001, service: 'b' },
    { name: 'two', port: 9001, address: '127.0.0.2', service: 'b' },
  ]
  const a = makeWorkloadEntry('a', { outbound })
  const b = makeWorkloadEntry('b', { inbound: [{ port: 8001 }] })
  t.same(run(a, b), {
    ports: [
      ['a', 9001],
      ['b', 8001],
    ],
    conflicts: [['a', 'spec.outbound[1].port']],
  })
})
