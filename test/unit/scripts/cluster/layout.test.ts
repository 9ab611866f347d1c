/**
 * Two clusters never share a name that the machine can tell apart, nor an address; nor does one take what is in use.
 */
import t from 'tap'
import { freeNetwork, layoutOf, NETWORKS } from '../../../../scripts/cluster/layout.ts'

t.test('all addresses lie in the network', async (t) => {
  const layout = layoutOf('/cache', 'mine', '10.42')
  t.match(layout, { folder: '/cache/mine', interface: 'pn-mine', cgroup: 'postern-mine' })
  for (const value of [layout.hostAddress, layout.podNetwork, layout.serviceNetwork])
    t.match(value, /^10\.42\./)
})

t.test('the longest name still fits an interface', async (t) => {
  t.ok(layoutOf('/cache', 'a12345678901', '10.42').interface.length <= 15)
})

for (const name of ['', 'a123456789012', 'Mine', '../x', '1a', 'a b'])
  t.test(`refuses the name "${name}"`, async (t) => {
    t.throws(() => layoutOf('/cache', name, '10.42'), { name: 'Missing' })
  })

for (const network of ['10', '10.42.0', '224.0', '10.256', '10.x'])
  t.test(`refuses the network ${network}`, async (t) => {
    t.throws(() => layoutOf('/cache', 'mine', network), { name: 'Missing' })
  })

t.test('takes the first network that no route touches', async (t) => {
  t.equal(freeNetwork(NETWORKS, []), '10.99')
  t.equal(freeNetwork(NETWORKS, ['10.99.0.0/24', '10.98.3.4', '10.96.0.0/15']), '10.95')
  t.equal(freeNetwork(NETWORKS, ['10.64.0.0/10']), undefined)
  t.equal(freeNetwork(NETWORKS, ['192.168.0.0/16', '11.0.0.0/8']), '10.99')
  t.equal(freeNetwork(['10.99'], ['0.0.0.0/0']), undefined)
})
