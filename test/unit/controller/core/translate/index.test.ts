import { t } from 'tap'
import { parsePolicySet } from '../../../../../common/policy-set-shape.ts'
import type { Translation } from '../../../../../controller/core/model/mesh.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import {
  makeAuthority,
  makeInput,
  makeMesh,
  makePeerAuthentication,
  makePolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'

const web = makeWorkloadEntry('web', { outbound: [{ port: 9001, service: 'orders' }] })
const orders = makeWorkloadEntry('orders', { inbound: [{ port: 8001 }] })

function workload({ model }: Translation, key: string) {
  const found = model?.workloads.get(key)
  if (found === undefined) throw new Error(`no workload ${key}`)
  return found
}

t.test('makes the model of two services', async (t) => {
  const result = translate(makeInput({ workloadEntries: [web, orders] }))
  t.same(result.problems, [])
  t.same(result.model?.mesh, {
    trustDomain: 'shop.example',
    trustDomainAliases: [],
    defaultAction: 'DENY',
    defaultMode: 'Enforce',
    mtlsMode: 'STRICT',
    tlsMinVersion: 'TLSv1_3',
    accessLog: 'Off',
    outboundMode: 'RegistryOnly',
    certificateAuthority: 'postern',
    svidLifetimeSeconds: 86_400,
  })
  t.same(workload(result, 'shop/web'), {
    namespace: 'shop',
    name: 'web',
    uid: 'uid-web',
    serviceAccount: 'web',
    spiffeId: 'spiffe://shop.example/ns/shop/sa/web',
    service: 'web',
    labels: {},
    inbound: [],
    outbound: [
      {
        name: 'to-9001',
        address: '127.0.0.1',
        port: 9001,
        destination: { namespace: 'shop', service: 'orders', port: 'http' },
        protocol: 'HTTP',
        endpoints: [{ address: '127.0.0.1', port: 8001, mtls: 'STRICT' }],
        serverIds: ['spiffe://shop.example/ns/shop/sa/orders'],
      },
    ],
    policySet: {
      workload: 'shop/web',
      trustDomain: 'shop.example',
      defaultAction: 'DENY',
      defaultMode: 'Enforce',
      policies: [],
    },
  })
  t.match(workload(result, 'shop/orders').inbound, [
    { name: 'http', port: 8001, appPort: 18_001, protocol: 'HTTP', mtls: 'STRICT' },
  ])
})

t.test('gives no model without a Mesh', async (t) => {
  const { model, problems } = translate(makeInput({ mesh: undefined, workloadEntries: [web] }))
  t.equal(model, undefined)
  t.match(problems, [{ code: 'ERR_MESH_MISSING', object: undefined }])
})

t.test('gives no model when the Mesh names no CertificateAuthority', async (t) => {
  const { model, problems } = translate(makeInput({ certificateAuthorities: [] }))
  t.equal(model, undefined)
  t.match(problems, [
    {
      code: 'ERR_REFERENCE_NOT_FOUND',
      object: { kind: 'Mesh', name: 'mesh' },
      field: 'spec.certificateAuthorityRef.name',
    },
  ])
})

t.test('gives no model for a trust domain that is none', async (t) => {
  const mesh = makeMesh({ trustDomain: 'Shop', trustDomainAliases: ['a', 'b/c'] })
  const { model, problems } = translate(makeInput({ mesh }))
  t.equal(model, undefined)
  t.same(
    problems.map((p) => [p.code, p.field]),
    [
      ['ERR_SPIFFE_ID', 'spec.trustDomain'],
      ['ERR_SPIFFE_ID', 'spec.trustDomainAliases[1]'],
    ],
  )
})

t.test('names the aliases of the trust domain in each set, when there are any', async (t) => {
  const mesh = makeMesh({ trustDomainAliases: ['old', 'cluster.local', 'old'] })
  const result = translate(makeInput({ mesh, workloadEntries: [web] }))
  const { policySet } = workload(result, 'shop/web')
  t.same(policySet.trustDomainAliases, ['cluster.local', 'old'])
  t.type(parsePolicySet(policySet), 'object', 'a sidecar takes it')
})

t.test('caps SVID lifetime at what the authority permits', async (t) => {
  const certificateAuthorities = [makeAuthority({ maxSvidLifetimeSeconds: 600 })]
  const { model } = translate(makeInput({ certificateAuthorities }))
  t.equal(model?.mesh.svidLifetimeSeconds, 600)
})

t.test(
  'attaches policies and sorts them: DENY, AUDIT, ALLOW, then namespace and name',
  async (t) => {
    const policies = [
      makePolicy('b-allow'),
      makePolicy('a-allow'),
      makePolicy('audit', { action: 'AUDIT' }),
      makePolicy('postern-system/deny', { action: 'DENY' }),
      makePolicy('deny', { action: 'DENY' }),
      makePolicy('other/allow'),
    ].map((object) => ({ object }))
    const result = translate(makeInput({ workloadEntries: [web], policies }))
    t.same(
      workload(result, 'shop/web').policySet.policies.map((p) => `${p.namespace}/${p.name}`),
      ['postern-system/deny', 'shop/deny', 'shop/audit', 'shop/a-allow', 'shop/b-allow'],
    )
    t.match(result.problems, [
      {
        code: 'ERR_TARGET_SELECTS_NOTHING',
        object: { kind: 'AuthorizationPolicy', namespace: 'other', name: 'allow' },
      },
    ])
  },
)

t.test('compares namespaces before names', async (t) => {
  // As one text, `postern-system/p` would come before `postern/p`.
  const policies = ['postern-system/p', 'postern/p'].map((name) => ({ object: makePolicy(name) }))
  const result = translate(
    makeInput({ workloadEntries: [makeWorkloadEntry('postern/w')], policies }),
  )
  t.same(
    workload(result, 'postern/w').policySet.policies.map((p) => p.namespace),
    ['postern', 'postern-system'],
  )
})

t.test('carries the default action and the compiled Rego', async (t) => {
  const mesh = makeMesh({ defaultAction: { action: 'ALLOW', mode: 'Shadow' } })
  const rego = { entrypoint: 'a/allow', wasmDigest: '00', data: {}, readsBody: true }
  const spec = { entrypoint: 'a/allow', regoVersion: 'V1' as const, module: 'package a' }
  const policies = [{ object: makePolicy('p', { rego: spec }), rego }]
  const { policySet } = workload(
    translate(makeInput({ mesh, workloadEntries: [web], policies })),
    'shop/web',
  )
  t.match(policySet, { defaultAction: 'ALLOW', defaultMode: 'Shadow', policies: [{ rego }] })
})

t.test('a policy that cannot be translated is named, and is on no workload', async (t) => {
  const bad = {
    action: 'DENY',
    rules: [{ from: [{ source: { ipBlocks: ['10.0.0.0/99'] } }] }],
  } as const
  const policies = [{ object: makePolicy('bad', bad) }, { object: makePolicy('good') }]
  const result = translate(makeInput({ workloadEntries: [web], policies }))
  const found = workload(result, 'shop/web').policySet.policies.map((p) => p.name)
  t.same(found, ['good'])
  t.match(result.problems, [
    { object: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'bad' } },
    { code: 'ERR_REFERENCE_NOT_FOUND', object: { name: 'web' } },
  ])
})

t.test('labels come in one order', async (t) => {
  const labelled = (labels: Record<string, string>) =>
    workload(
      translate(makeInput({ workloadEntries: [makeWorkloadEntry('w', {}, { labels })] })),
      'shop/w',
    )
  t.equal(
    JSON.stringify(labelled({ b: '2', a: '1' }).labels),
    JSON.stringify(labelled({ a: '1', b: '2' }).labels),
  )
})

t.test('a missing uid is a bug of the caller', async (t) => {
  t.throws(() => translate(makeInput({ workloadEntries: [web], uids: new Map() })), /no uid/)
})

t.test('equal manifests in any order make an equal model and equal problems', async (t) => {
  const input = makeInput({
    workloadEntries: [
      web,
      orders,
      makeWorkloadEntry('orders-2', {
        service: 'orders',
        address: '127.0.0.2',
        inbound: [{ port: 8001 }],
      }),
      makeWorkloadEntry('clash', { inbound: [{ port: 8001 }] }),
      makeWorkloadEntry('lost', { outbound: [{ port: 9009, service: 'nobody' }] }),
    ],
    policies: ['d', 'c', 'b', 'a'].map((name) => ({
      object: makePolicy(name, { action: name < 'c' ? 'DENY' : 'ALLOW' }),
    })),
    peerAuthentications: [
      makePeerAuthentication('one', { mtls: { mode: 'PERMISSIVE' } }),
      makePeerAuthentication('two', { mtls: { mode: 'STRICT' } }),
      makePeerAuthentication('none', { selector: { matchLabels: { no: 'one' } } }),
    ],
  })
  const expected = translate(input)
  t.ok(expected.problems.length >= 3)
  for (let round = 1; round < 6; round++) {
    const shuffled = translate({
      ...input,
      workloadEntries: rotate(input.workloadEntries, round),
      policies: rotate(input.policies, round),
      peerAuthentications: rotate(input.peerAuthentications, round),
    })
    t.strictSame(shuffled, expected)
    t.same(
      [...(shuffled.model?.workloads.keys() ?? [])],
      [...(expected.model?.workloads.keys() ?? [])],
    )
  }
})

/** Every rotation of the reversed list: enough to put each object before and behind each other. */
function rotate<T>(list: readonly T[], by: number): T[] {
  const reversed = [...list].reverse()
  const at = by % list.length
  return [...reversed.slice(at), ...reversed.slice(0, at)]
}
