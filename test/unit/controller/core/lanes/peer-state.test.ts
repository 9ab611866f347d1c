import { toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { buildHttpRbac } from '../../../../../controller/core/lanes/http-rbac.ts'
import { buildNetworkRbac } from '../../../../../controller/core/lanes/network-rbac.ts'
import { readPeerState } from '../../../../../controller/core/lanes/peer-state.ts'
import { RBACSchema } from '../../../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { makePolicy, makeSet } from '../../../../kit/check.ts'

const term = <T>(is: readonly T[]) => ({ is, not: [] })
const web = { kind: 'exact' as const, value: 'spiffe://mesh.local/ns/shop/sa/web' }
const rule = (id: string) => ({
  id,
  from: [
    { principals: term([web]), namespaces: term([]), ipBlocks: term([]) },
    {
      principals: { is: [], not: [web] },
      namespaces: term([{ kind: 'exact' as const, value: 'shop' }]),
      ipBlocks: term([]),
    },
    { principals: term([]), namespaces: term([]), ipBlocks: term(['10.0.0.0/8', '::/0']) },
  ],
  to: [],
  when: [],
})
const set = makeSet([
  makePolicy({ name: 'deny', action: 'DENY', rules: [rule('shop/deny/rules[0]')] }),
  makePolicy({ name: 'allow', rules: [rule('shop/allow/rules[0]')] }),
])

t.test('no input of the connection is left, and every decision is', async (t) => {
  for (const transport of ['tls', 'plaintext'] as const) {
    const rbac = buildNetworkRbac(set, { port: 8080, transport })
    const before = textOf(toBinary(RBACSchema, rbac))
    const after = textOf(toBinary(RBACSchema, readPeerState(rbac)))
    t.match(before, /UriSanInput|DirectSourceIPInput/)
    t.notMatch(after, /UriSanInput|DnsSanInput|SubjectInput|DirectSourceIPInput/)
    t.equal(count(after, 'FilterStateInput'), count(before, 'Input'))
    t.equal(count(after, 'rbac.v3.Action'), count(before, 'rbac.v3.Action'))
  }
})

t.test('an input that has no counterpart is a bug', async (t) => {
  const { matcher } = buildHttpRbac(set, { port: 8080, transport: 'tls' })
  const network = buildNetworkRbac(set, { port: 8080, transport: 'tls' })
  if (matcher === undefined) throw new Error('no matcher')
  t.throws(() => readPeerState({ ...network, matcher }), /HttpRequestHeaderMatchInput/)
})

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

function count(text: string, part: string): number {
  return text.split(part).length - 1
}
