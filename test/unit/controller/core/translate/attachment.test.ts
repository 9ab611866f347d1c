import { t } from 'tap'
import type { AuthorizationPolicySpec } from '../../../../../controller/core/crd/index.ts'
import { attach, type Subject } from '../../../../../controller/core/translate/attachment.ts'
import { makePeerAuthentication, makePolicy } from '../../../../kit/objects.ts'

const subjects: readonly Subject[] = [
  subject('shop/web', { labels: { app: 'web', tier: 'front' } }),
  subject('shop/orders', { service: 'orders', serviceAccount: 'backend' }),
  subject('shop/orders-2', { service: 'orders', serviceAccount: 'backend-2' }),
  subject('bank/web', { labels: { app: 'web' } }),
]

function subject(key: string, more: Partial<Subject> = {}): Subject {
  const [namespace = '', name = ''] = key.split('/')
  return { namespace, name, service: name, serviceAccount: name, labels: {}, ...more }
}

function select(name: string, spec: Partial<AuthorizationPolicySpec>) {
  const { scope, selected, problems } = attach(makePolicy(name, spec), subjects)
  return {
    scope,
    selected: selected.map((s) => `${s.namespace}/${s.name}`),
    fields: problems.map((p) => p.field),
  }
}

const service = (name: string) => ({ group: '' as const, kind: 'Service' as const, name })
const account = (name: string) => ({ group: '' as const, kind: 'ServiceAccount' as const, name })

t.test('a Service target is the workloads of that service in the same namespace', async (t) => {
  t.same(select('shop/p', { targetRefs: [service('orders')] }), {
    scope: 'workload',
    selected: ['shop/orders', 'shop/orders-2'],
    fields: [],
  })
  t.same(select('bank/p', { targetRefs: [service('orders')] }), {
    scope: 'workload',
    selected: [],
    fields: ['spec.targetRefs[0]'],
  })
})

t.test('a ServiceAccount target is the workloads that run as it', async (t) => {
  t.same(select('shop/p', { targetRefs: [account('backend')] }).selected, ['shop/orders'])
})

t.test('several targets add up, and each must select something', async (t) => {
  t.same(select('shop/p', { targetRefs: [service('web'), service('no'), account('backend')] }), {
    scope: 'workload',
    selected: ['shop/web', 'shop/orders'],
    fields: ['spec.targetRefs[1]'],
  })
})

t.test('targets in the controller namespace stay there', async (t) => {
  t.same(select('postern-system/p', { targetRefs: [service('web')] }).selected, [])
})

t.test('labels must all be there', async (t) => {
  t.same(select('shop/p', { selector: { matchLabels: { app: 'web' } } }).selected, ['shop/web'])
  t.same(select('shop/p', { selector: { matchLabels: { app: 'web', tier: 'back' } } }), {
    scope: 'workload',
    selected: [],
    fields: ['spec.selector.matchLabels'],
  })
})

t.test('a label is no property of Object', async (t) => {
  const matchLabels = JSON.parse('{"constructor":"x"}')
  t.same(select('shop/p', { selector: { matchLabels } }).selected, [])
})

t.test('labels in the controller namespace reach the whole mesh', async (t) => {
  t.same(select('postern-system/p', { selector: { matchLabels: { app: 'web' } } }), {
    scope: 'workload',
    selected: ['shop/web', 'bank/web'],
    fields: [],
  })
})

t.test('no target is the namespace; in the controller namespace the mesh', async (t) => {
  t.same(select('bank/p', {}), { scope: 'namespace', selected: ['bank/web'], fields: [] })
  t.equal(select('postern-system/p', {}).selected.length, 4)
  t.equal(select('postern-system/p', {}).scope, 'mesh')
  t.same(select('empty/p', {}).fields, [''])
})

t.test('a PeerAuthentication attaches in the same way', async (t) => {
  const object = makePeerAuthentication('p', { selector: { matchLabels: { app: 'web' } } })
  t.equal(attach(object, subjects).selected.length, 1)
})
