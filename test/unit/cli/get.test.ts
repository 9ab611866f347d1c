import t from 'tap'
import { columnsOf, formatObjects, formatProblems } from '../../../cli/get.ts'
import { findKind } from '../../../cli/kinds.ts'
import type { ApiObject } from '../../../cli/objects.ts'

const kind = findKind('authorizationpolicies')

const policy: ApiObject = {
  apiVersion: 'postern.dev/v1alpha1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'p', namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { action: 'DENY' },
  status: { conditions: [{ type: 'Accepted', status: 'False' }] },
}

t.test('finds a kind by plural, singular, kind and short name, in any case', async (t) => {
  for (const name of [
    'AuthorizationPolicy',
    'authorizationpolicy',
    'AUTHORIZATIONPOLICIES',
    'pap',
  ]) {
    t.equal(findKind(name).kind, 'AuthorizationPolicy')
  }
  t.throws(() => findKind('pods'), { code: 'ERR_CONFIG', message: /authorizationpolicies \(pap\)/ })
})

t.test('shows the namespace only where several are shown', async (t) => {
  const options = { wide: false, nowMs: Date.parse('2026-01-01T00:00:09Z') }
  const one = formatObjects(kind, [policy], { ...options, withNamespace: false })
  t.match(one, /^NAME +ACTION/)
  t.match(one, /\np +DENY .*False.* 9s\n$/)
  t.match(formatObjects(kind, [policy], { ...options, withNamespace: true }), /^NAMESPACE +NAME/)
})

t.test('wide adds columns and takes none away', async (t) => {
  const names = (wide: boolean) => columnsOf(kind, false, wide).map((c) => c.name)
  t.ok(names(true).length >= names(false).length)
  t.ok(names(false).every((name) => names(true).includes(name)))
})

t.test('lists problems with file, object, field, code and remedy', async (t) => {
  const text = formatProblems([
    {
      code: 'ERR_CIDR',
      object: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'p' },
      field: 'spec.rules[0]',
      message: 'no CIDR',
      remedy: 'write 10.0.0.0/8',
      source: { file: 'a.yaml', line: 4 },
    },
    { code: 'ERR_MANIFEST_NOT_YAML', field: '', message: 'm', remedy: 'r' },
  ])
  t.match(
    text,
    /a\.yaml:4 +AuthorizationPolicy\/shop\/p +spec\.rules\[0\] +ERR_CIDR +no CIDR; write 10/,
  )
})

t.test(
  'a workload shows its service, given or not, and whether its sidecar is connected',
  async (t) => {
    const entry = {
      apiVersion: 'postern.dev/v1alpha1',
      kind: 'WorkloadEntry',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { serviceAccount: 'web' },
      status: { service: 'web', conditions: [{ type: 'Connected', status: 'False' }] },
    }
    const options = { withNamespace: false, wide: false, nowMs: 0 }
    const [heading = '', row = ''] = formatObjects(findKind('pwe'), [entry], options).split('\n')
    t.match(heading, /SERVICE .*CONNECTED/)
    t.same(row.split(/ +/), ['web', 'web', 'web', 'False'])
  },
)
