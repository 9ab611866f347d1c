/** What the table says of a proxy, from what the streams told it. */
import t from 'tap'
import { ProxyTable } from '../../../../controller/runtime/proxy-table.ts'

const report = {
  ...{ enforcedGeneration: 'g', bundleRevision: 'b', ready: true, detail: '' },
  ...{ envoyVersion: '1.40.0', svidNotAfterMs: 7000 },
}

t.test('a proxy is connected while one of its streams is open', async (t) => {
  const table = new ProxyTable()
  const first = table.opened('a', 'status')
  const second = table.opened('a', 'xds')
  first()
  first()
  t.match(table.list(), [{ nodeId: 'a', connected: true }])
  second()
  t.match(table.list(), [{ nodeId: 'a', connected: false }])
})

t.test('what a proxy reported ends with its last stream', async (t) => {
  const table = new ProxyTable()
  const close = table.opened('a', 'status')
  table.reported('a', report)
  t.match(table.list(), [report])
  close()
  t.match(table.list(), [{ enforcedGeneration: '', ready: false, detail: 'not connected' }])
})

t.test(
  'a report ends with its status stream, an acknowledgement with the xDS stream',
  async (t) => {
    const table = new ProxyTable()
    const xds = table.opened('a', 'xds')
    const status = table.opened('a', 'status')
    table.reported('a', report)
    table.settled('a', 'g')
    status()
    const silent = { connected: true, enforcedGeneration: '', ready: false, ackedGeneration: 'g' }
    t.match(table.list(), [{ ...silent, detail: 'no report yet' }])
    const again = table.opened('a', 'status')
    table.reported('a', report)
    xds()
    t.match(table.list(), [{ ...report, ackedGeneration: '' }])
    again()
    t.match(table.list(), [{ connected: false, detail: 'not connected' }])
  },
)

t.test('a refusal stands until an ACK of its resource, or a new xDS stream', async (t) => {
  const table = new ProxyTable()
  table.nacked('a', 'lds', ['in', 'out'], 'bad')
  table.nacked('a', 'cds', ['c'], 'worse')
  table.acked('a', 'lds', ['other'])
  t.same(table.list()[0]?.nacks, [
    { typeUrl: 'lds', message: 'bad', names: ['in', 'out'] },
    { typeUrl: 'cds', message: 'worse', names: ['c'] },
  ])
  table.acked('a', 'lds', ['in'])
  t.match(table.list()[0]?.nacks, [{ names: ['out'] }, { names: ['c'] }])
  table.forgetNacks('a', 'lds')
  t.same(table.list()[0]?.nacks, [{ typeUrl: 'cds', message: 'worse', names: ['c'] }])
})

t.test('a refused removal ends with the next ACK of its type', async (t) => {
  const table = new ProxyTable()
  table.nacked('a', 'lds', [], 'bad')
  t.same(table.list()[0]?.nacks, [{ typeUrl: 'lds', message: 'bad', names: [''] }])
  table.acked('a', 'lds', ['other'])
  t.same(table.list()[0]?.nacks, [])
})

t.test('remembers a bounded number of refusals', async (t) => {
  const table = new ProxyTable()
  const names = Array.from({ length: 500 }, (_, i) => `n${i}`)
  table.nacked('a', 'lds', names, 'bad')
  table.nacked('a', 'cds', names, 'bad')
  t.equal(table.list()[0]?.nacks.flatMap((n) => n.names).length, 200)
})

t.test(
  'what was ACKed is told apart from what is enforced, and ends with the streams',
  async (t) => {
    const table = new ProxyTable()
    const close = table.opened('a', 'status')
    table.settled('a', 'g')
    t.match(table.list(), [{ ackedGeneration: 'g', enforcedGeneration: '' }])
    close()
    t.match(table.list(), [{ ackedGeneration: '' }])
  },
)

t.test('forgets proxies of workloads that are no more, once they are gone', async (t) => {
  const table = new ProxyTable()
  const close = table.opened('b', 'status')
  table.nacked('a', 'lds', ['in'], 'bad')
  table.retain(new Set())
  t.same(
    table.list().map((p) => p.nodeId),
    ['b'],
  )
  close()
  table.retain(new Set())
  t.same(table.list(), [])
})

t.test('tells its listeners of every change until they leave', async (t) => {
  const table = new ProxyTable()
  let count = 0
  const leave = table.onChange(() => count++)
  table.opened('a', 'status')
  table.nacked('a', 'lds', ['in'], 'bad')
  table.acked('a', 'cds', ['c'])
  t.equal(count, 2, 'an ACK that clears nothing is no change')
  leave()
  table.reported('a', report)
  t.equal(count, 2)
})

t.test('lists by node id', async (t) => {
  const table = new ProxyTable()
  for (const id of ['c', 'a', 'b']) table.opened(id, 'xds')
  t.same(
    table.list().map((p) => p.nodeId),
    ['a', 'b', 'c'],
  )
})

t.test('an older proxy is known by the generation that its form stands for', async (t) => {
  const table = new ProxyTable()
  table.opened('a', 'status')
  table.reported('a', { ...report, enforcedGeneration: 'old-1' })
  table.standsFor('a', 'old-1', 'new-1')
  table.settled('a', 'old-1')
  t.match(table.list(), [{ enforcedGeneration: 'new-1', ackedGeneration: 'new-1' }])
  table.standsFor('a', 'old-2', 'new-2')
  t.match(table.list(), [{ enforcedGeneration: 'new-1' }], 'it is still there')
  table.standsFor('a', 'old-1', 'new-3')
  t.match(table.list(), [{ enforcedGeneration: 'new-3' }], 'the same form may stand for another')
  for (let i = 0; i < 100; i++) table.standsFor('a', `x${i}`, 'y')
  t.match(table.list(), [{ enforcedGeneration: 'old-1' }], 'and what is long gone is forgotten')
})
