import t from 'tap'
import type { Problem } from '../../../../../common/errors.ts'
import { TYPE_URLS } from '../../../../../common/xds.ts'
import { type AcceptedObject, keyOf } from '../../../../../controller/core/accept/objects.ts'
import type { Proposal } from '../../../../../controller/core/accept/propose.ts'
import type { PosternObject } from '../../../../../controller/core/crd/index.ts'
import { nodeId } from '../../../../../controller/core/model/mesh.ts'
import {
  buildStatuses,
  nackProblems,
  type ProxyReading,
  type StatusInput,
} from '../../../../../controller/core/status/status.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import {
  makeAuthority,
  makeInput,
  makeMesh,
  makePeerAuthentication,
  makePolicy,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'

const LATER = '2026-11-24T01:00:00Z'
const entries = [
  makeWorkloadEntry('orders', { inbound: [{ port: 8080 }] }),
  makeWorkloadEntry('web', { inbound: [{ port: 8081 }] }),
]
const policy = makePolicy('p', { targetRefs: [{ group: '', kind: 'Service', name: 'orders' }] })
const wide = makePolicy('wide', {})
const peers = makePeerAuthentication('peers', { mtls: { mode: 'STRICT' } })
const traffic = makeTrafficPolicy('traffic', { limits: { maxRequestBodyBytes: 9 } })
const objects: PosternObject[] = [
  makeMesh(),
  makeAuthority(),
  ...entries,
  policy,
  wide,
  peers,
  traffic,
]
const { model } = translate(
  makeInput({
    workloadEntries: entries,
    policies: [{ object: policy }, { object: wide }],
    peerAuthentications: [peers],
  }),
)
if (model === undefined) throw new Error('no model')
const served = {
  model,
  targets: new Map(
    [...model.workloads.values()].map((w) => [
      nodeId(w),
      { generation: 'g', revision: 'r', requires: [] as string[] },
    ]),
  ),
}
const proxy = (name: string, more: Partial<ProxyReading> = {}): ProxyReading => ({
  nodeId: `shop/${name}/uid-${name}`,
  connected: true,
  enforcedGeneration: 'g',
  ackedGeneration: 'g',
  bundleRevision: 'r',
  ready: true,
  detail: '',
  version: '0.2.0',
  features: [],
  nacks: [],
  ...more,
})
const withGeneration = (object: PosternObject, generation: number) =>
  ({ ...object, metadata: { ...object.metadata, generation } }) as PosternObject

function input(more: Partial<StatusInput> = {}): StatusInput {
  const inForce = new Map<string, AcceptedObject>(
    objects.map((o) => [keyOf(o), { object: withGeneration(o, 1), source: { file: 'f.yaml' } }]),
  )
  const proposals: Proposal[] = objects.map((object) => ({
    key: keyOf(object),
    candidate: {
      object: withGeneration(object, 1),
      source: { file: 'f.yaml' },
      locate: () => ({ file: 'f' }),
    },
  }))
  return {
    proposals,
    seen: new Map(),
    problems: [],
    pending: new Set(),
    held: new Map(),
    inForce,
    served,
    proxies: [proxy('orders'), proxy('web')],
    revoked: new Map(),
    before: new Map(),
    now: '2026-11-24T00:00:00Z',
    ...more,
  }
}

const ORDERS = 'WorkloadEntry/shop/orders'
const P = 'AuthorizationPolicy/shop/p'
const TRAFFIC = 'BackendTrafficPolicy/shop/traffic'
const WIDE = 'AuthorizationPolicy/shop/wide'

function statusOf(more: Partial<StatusInput>, key: string) {
  const status = buildStatuses(input(more)).get(key)?.status
  const conditions = Object.fromEntries((status?.conditions ?? []).map((c) => [c.type, c]))
  return { status, conditions }
}

t.test('all is well', async (t) => {
  const all = buildStatuses(input())
  t.equal(all.size, objects.length)
  for (const [key, object] of all) {
    t.equal(object.status?.observedGeneration, 1)
    for (const c of object.status?.conditions ?? []) t.equal(c.status, 'True', `${key} ${c.type}`)
  }
  t.match(statusOf({}, P).status, { enforced: '1/1' })
  t.match(statusOf({}, WIDE).status, { enforced: '2/2' })
  t.match(statusOf({}, ORDERS).conditions.Connected, { status: 'True', reason: 'Ready' })
})

t.test('Programmed says so when nobody is there to be served', async (t) => {
  const message = (more: Partial<StatusInput>) => statusOf(more, P).conditions.Programmed?.message
  t.equal(message({}), 'proxies are served with it')
  t.equal(message({ proxies: [] }), 'published; no proxy that it concerns is connected')
  t.equal(
    message({ proxies: [proxy('orders', { connected: false }), proxy('web')] }),
    'published; no proxy that it concerns is connected',
  )
})

const problem: Problem = {
  code: 'ERR_FIELD_VALUE',
  object: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'p' },
  field: 'spec.rules[0]',
  message: 'is wrong',
  remedy: 'mend it',
  source: { file: 'p.yaml', document: 2, line: 7, column: 3 },
}

t.test('a refused object names file, field, remedy and what stays', async (t) => {
  const seen = new Map([[P, { uid: 'u', generation: 2, specHash: '', creationTimestamp: '' }]])
  const { conditions, status } = statusOf({ problems: [problem], seen }, P)
  t.match(conditions.Accepted, {
    status: 'False',
    reason: 'ERR_FIELD_VALUE',
    observedGeneration: 2,
  })
  const message = 'p.yaml:7:3 (document 2): spec.rules[0]: is wrong; mend it [ERR_FIELD_VALUE]'
  t.equal(conditions.Accepted?.message, `${message}. generation 1 stays in force`)
  t.match(conditions.Programmed, { status: 'False', reason: 'LastGood', message: /generation 1/ })
  t.match(status, { observedGeneration: 2, enforced: '1/1' })
})

t.test('a new refused object is not in force', async (t) => {
  const inForce = new Map(input().inForce)
  inForce.delete(P)
  const { conditions } = statusOf({ problems: [problem], inForce }, P)
  t.match(conditions.Accepted?.message, /nothing of it is in force/)
  t.match(conditions.Programmed, { status: 'False', reason: 'NotAccepted' })
  t.match(conditions.Enforced, { status: 'Unknown', reason: 'NoWorkload' })
})

t.test('an object that its broken file hides says why it stays', async (t) => {
  const hidden: Problem = { code: 'ERR_MANIFEST_NOT_YAML', field: '', message: 'm', remedy: 'r' }
  const accepted = input().inForce.get(P)
  if (accepted === undefined) throw new Error('no policy')
  const proposals = [{ key: P, accepted, retained: hidden }]
  const { conditions } = statusOf({ proposals, problems: [hidden] }, P)
  t.match(conditions.Accepted, { status: 'False', reason: 'ERR_MANIFEST_NOT_YAML' })
})

t.test('a policy that compiles is neither yes nor no', async (t) => {
  const { conditions } = statusOf({ pending: new Set([P]) }, P)
  t.match(conditions.Accepted, { status: 'Unknown', reason: 'Compiling' })
  t.match(conditions.Programmed, { status: 'False', reason: 'LastGood' })
})

t.test('what waits for the Rego of another policy says so', async (t) => {
  const held = new Map([[P, 'AuthorizationPolicy/shop/deny']])
  const { conditions } = statusOf({ held }, P)
  t.match(conditions.Accepted, { status: 'Unknown', reason: 'Pending' })
  t.match(conditions.Accepted?.message, 'it waits for the Rego of AuthorizationPolicy/shop/deny')
  t.match(conditions.Programmed, { status: 'False', reason: 'LastGood' })
  const { proposals, inForce } = input()
  const accepted = inForce.get(P)
  const going = proposals.map(
    (p): Proposal => (p.key === P && accepted ? { key: P, accepted, isDeleted: true } : p),
  )
  t.match(
    statusOf({ proposals: going, held }, P).conditions.Accepted?.message,
    'its deletion waits',
  )
  t.notOk(buildStatuses(input({ proposals: going })).has(P), 'what goes has no status')
})

t.test('enforced counts what proxies really have', async (t) => {
  const lagging: Partial<ProxyReading>[] = [
    { connected: false },
    { enforcedGeneration: 'old' },
    { bundleRevision: 'old', detail: 'bundle is being fetched' },
    // What it reports is of before: another was offered meanwhile, and taken back.
    { ackedGeneration: '' },
  ]
  for (const lag of lagging) {
    const { status, conditions } = statusOf({ proxies: [proxy('orders', lag), proxy('web')] }, WIDE)
    t.match(status, { enforced: '1/2' })
    t.match(conditions.Enforced, { status: 'False', reason: 'Waiting', message: /shop\/orders/ })
  }
  t.match(statusOf({ proxies: [] }, WIDE).status, { enforced: '0/2' })
  const stranger = proxy('orders', { nodeId: 'shop/orders/another-uid' })
  t.match(statusOf({ proxies: [stranger] }, P).status, { enforced: '0/1' })
})

t.test('an ACK is told apart from enforcement', async (t) => {
  const draining = proxy('orders', { enforcedGeneration: 'old', detail: 'envoy is draining' })
  const { conditions } = statusOf({ proxies: [draining, proxy('web')] }, P)
  const message =
    '0/1 proxies enforce it (acknowledged by 1); waiting for shop/orders (envoy is draining)'
  t.match(conditions.Enforced, { status: 'False', message })
  const lagging = proxy('orders', { enforcedGeneration: 'old', ackedGeneration: 'old' })
  t.match(statusOf({ proxies: [lagging] }, P).conditions.Enforced, { message: /acknowledged by 0/ })
})

t.test('a refusal is a condition on what caused it', async (t) => {
  const programmed = (typeUrl: string, name: string, key: string, message = 'bad regex') => {
    const nacks = [{ typeUrl, names: [name], message }]
    return statusOf({ proxies: [proxy('orders', { nacks })] }, key).conditions.Programmed
  }
  const refused = { status: 'False', reason: 'ERR_PROXY_NACK', message: /shop\/orders.*bad regex/ }
  const fine = { status: 'True' }
  const { extensionConfig, listener, secret, cluster } = TYPE_URLS
  const rbac = (key: string, words?: string) =>
    programmed(extensionConfig, 'authz/8080/tls', key, words)
  t.match(rbac(P), refused)
  t.match(rbac(WIDE), refused, 'nobody is named')
  const named = 'shop/p/rules[0]: bad regex'
  t.match(rbac(P, named), refused)
  t.match(rbac(WIDE, named), fine, 'another is named')
  t.match(rbac(ORDERS), refused)
  t.match(rbac('WorkloadEntry/shop/web'), fine)
  t.match(rbac('Mesh/mesh'), fine)
  t.match(programmed(extensionConfig, 'ext_authz/8080/tls', P), fine, 'it has no Rego')
  t.match(programmed(listener, 'inbound/8080', 'PeerAuthentication/shop/peers'), refused)
  t.match(programmed(listener, 'inbound/8080', 'Mesh/mesh'), refused)
  t.match(programmed(listener, 'inbound/8080', TRAFFIC), refused, 'its limits')
  t.match(programmed(cluster, 'outbound/shop/orders/http', TRAFFIC), refused)
  t.match(programmed(cluster, 'outbound/shop/web/http', TRAFFIC), fine)
  t.match(programmed(listener, 'outbound/8080', 'Mesh/mesh'), fine)
  const taken = "cannot bind '127.0.0.1:8080': Address already in use; bad regex"
  t.match(programmed(listener, 'inbound/8080', 'Mesh/mesh', taken), fine, 'a port in use')
  t.match(programmed(listener, 'inbound/8080', ORDERS, taken), refused)
  t.match(programmed(secret, 'ROOTCA', 'CertificateAuthority/postern'), refused)
  t.match(programmed(secret, 'another', 'CertificateAuthority/postern'), fine)
  t.match(programmed(cluster, 'inbound/8080', ORDERS), refused)
  t.match(programmed(cluster, 'inbound/8080', P), fine)
})

t.test(
  'workloads say whether their sidecar is there, and whose credential was revoked',
  async (t) => {
    t.match(statusOf({ proxies: [] }, ORDERS).conditions.Connected, { status: 'False' })
    const notReady = [proxy('orders', { ready: false, detail: 'warming' })]
    t.match(statusOf({ proxies: notReady }, ORDERS).conditions.Connected, {
      status: 'True',
      reason: 'NotReady',
      message: /warming/,
    })
    const revoked = new Map([['uid-orders', 'it was used twice']])
    t.match(statusOf({ revoked }, ORDERS).conditions.CredentialRevoked, {
      status: 'True',
      reason: 'ERR_CREDENTIAL_REVOKED',
      message: /it was used twice/,
    })
    t.equal(statusOf({ revoked }, 'WorkloadEntry/shop/web').conditions.CredentialRevoked, undefined)
  },
)

t.test('nothing is programmed before anything is published', async (t) => {
  const { conditions } = statusOf({ served: undefined }, ORDERS)
  t.match(conditions.Programmed, { status: 'False', reason: 'NotPublished' })
})

t.test('a time changes only with its status', async (t) => {
  const first = buildStatuses(input())
  const before = new Map([...first].map(([key, o]) => [key, o.status?.conditions ?? []]))
  const same = statusOf({ before, now: LATER }, P).conditions
  t.equal(same.Accepted?.lastTransitionTime, '2026-11-24T00:00:00Z')
  const changed = statusOf({ before, now: LATER, proxies: [] }, P).conditions
  t.equal(changed.Enforced?.lastTransitionTime, LATER)
  t.equal(changed.Accepted?.lastTransitionTime, '2026-11-24T00:00:00Z')
})

t.test('what a proxy is not given says who lacks what, and for which policy', async (t) => {
  const targets = new Map(served.targets).set('shop/orders/uid-orders', {
    generation: 'g2',
    revision: 'r2',
    requires: ['when/source.ip'],
  })
  const lacking = { served: { model, targets } }
  const expected = /withheld: the sidecar 0.1.0 of shop\/orders lacks when\/source.ip/
  const proxies = [proxy('orders', { version: '0.1.0' }), proxy('web')]
  const { conditions, status } = statusOf({ ...lacking, proxies }, P)
  t.match(conditions.Programmed, {
    status: 'False',
    reason: 'UnsupportedByProxy',
    message: expected,
  })
  t.match(conditions.Enforced, { status: 'False', reason: 'UnsupportedByProxy', message: expected })
  t.match(status, { enforced: '0/1' })
  t.match(statusOf({ ...lacking, proxies }, ORDERS).conditions.Programmed, {
    reason: 'UnsupportedByProxy',
  })
  t.match(statusOf({ ...lacking, proxies }, WIDE).status, { enforced: '1/2' })
  const knowing = [proxy('orders', { features: ['when/source.ip'] }), proxy('web')]
  t.match(statusOf({ ...lacking, proxies: knowing }, P).conditions.Programmed, { status: 'True' })
  const gone = [proxy('orders', { connected: false }), proxy('web')]
  t.match(statusOf({ ...lacking, proxies: gone }, P).conditions.Enforced, { reason: 'Waiting' })
})

t.test('a refusal is a problem of the workload, with its file', async (t) => {
  const nacks = [
    { typeUrl: TYPE_URLS.listener, names: ['inbound/1'], message: 'address already in use' },
  ]
  const stranger = proxy('gone', { nacks })
  t.match(nackProblems(input({ proxies: [proxy('orders', { nacks }), stranger] })), [
    {
      code: 'ERR_PROXY_NACK',
      object: { kind: 'WorkloadEntry', namespace: 'shop', name: 'orders' },
      message: 'its proxy refused its Listener: address already in use',
      source: { file: 'f.yaml' },
    },
  ])
  t.same(nackProblems(input()), [])
  t.same(nackProblems(input({ served: undefined, proxies: [proxy('orders', { nacks })] })), [])
})

t.test('a workload says which service it belongs to, named or not', async (t) => {
  const object = statusOf({}, 'WorkloadEntry/shop/web')
  t.equal((object.status as { service?: string }).service, 'web')
})
