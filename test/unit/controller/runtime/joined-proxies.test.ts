/** What other replicas tell of their proxies: whose word counts, and what is no word. */
import t from 'tap'
import {
  joinProxies,
  readProxyState,
  stateOfUnknown,
} from '../../../../controller/runtime/proxy-table.ts'

const state = (nodeId: string, connected: boolean, detail: string) => ({
  ...stateOfUnknown(nodeId),
  connected,
  detail,
})

t.test('what is connected here counts; else what others say, the last of them', async (t) => {
  const own = [state('b', true, 'here'), state('c', false, 'gone from here')]
  const others = [state('b', true, 'there'), state('c', true, 'old'), state('c', true, 'new')]
  const all = joinProxies(own, [...others, state('a', true, 'there')])
  t.same(
    all.map(({ nodeId, detail }) => [nodeId, detail]),
    [
      ['a', 'there'],
      ['b', 'here'],
      ['c', 'new'],
    ],
  )
  t.equal(joinProxies(own, []), own)
})

t.test('a state is read, with what another version does not tell; garbage is none', async (t) => {
  const told = state('a', true, 'x')
  t.same(readProxyState(JSON.parse(JSON.stringify(told))), told)
  const { features: _, ...older } = told
  t.same(readProxyState(older), told)
  for (const garbage of [null, 1, 'x', {}, { nodeId: 1 }, { ...told, nacks: {} }])
    t.equal(readProxyState(garbage), undefined)
  t.equal(readProxyState({ ...told, connected: 'yes' }), undefined)
  const nacks = [null, { typeUrl: 1 }, { typeUrl: 't', names: ['n'], message: 'm' }]
  t.match(readProxyState({ ...told, nacks })?.nacks, [{ typeUrl: 't' }])
})
