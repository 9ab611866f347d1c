import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { t } from 'tap'
import { TYPE_URLS, type TypeUrl, type XdsSnapshot } from '../../../../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../../../../common/xds-snapshot.ts'
import { type TranslationInput, translate } from '../../../../../controller/core/translate/index.ts'
import { checkSnapshot } from '../../../../../controller/core/xds/check.ts'
import { buildSnapshot } from '../../../../../controller/core/xds/snapshot.ts'
import { ListenerSchema } from '../../../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../../../../proto/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import {
  makeInput,
  makeMesh,
  makePeerAuthentication,
  makePolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'
import { toXdsJson } from '../../../../kit/xds-json.ts'

const trustBundle = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5, 6)]

const shop = makeInput({
  workloadEntries: [
    makeWorkloadEntry('web', {
      inbound: [{ port: 8001 }],
      outbound: [
        { port: 9001, service: 'orders' },
        { port: 9002, service: 'orders', servicePort: 'tcp' },
        { port: 9003, service: 'orders', protocol: 'TCP' },
      ],
    }),
    makeWorkloadEntry('orders', {
      inbound: [
        { port: 8002 },
        { name: 'grpc', port: 8003, protocol: 'GRPC' },
        { name: 'tcp', port: 8004, protocol: 'TCP' },
      ],
    }),
    makeWorkloadEntry('orders-2', { service: 'orders', inbound: [{ port: 8005 }] }),
  ],
  policies: [
    {
      object: makePolicy('allow-web', {
        rules: [
          {
            from: [
              { source: { principals: ['shop.example/ns/shop/sa/web'], namespaces: ['a', 'b'] } },
            ],
            to: [{ operation: { methods: ['GET', 'PUT'], paths: ['/a', '/b/*'] } }],
          },
        ],
      }),
    },
    {
      object: makePolicy('deny', {
        action: 'DENY',
        rules: [{ to: [{ operation: { paths: ['/x'] } }] }],
      }),
    },
  ],
  peerAuthentications: [
    makePeerAuthentication('p', { portLevelMtls: { '8002': { mode: 'PERMISSIVE' } } }),
    makePeerAuthentication('q', { mtls: { mode: 'STRICT' } }),
  ],
})

function snapshotsOf(input: TranslationInput, roots = trustBundle): Map<string, XdsSnapshot> {
  const { model } = translate(input)
  if (model === undefined) throw new Error('no model')
  return new Map(
    [...model.workloads].map(([key, workload]) => [
      key,
      buildSnapshot(workload, model.mesh, { trustBundle: roots }),
    ]),
  )
}

function snapshotOf(key: string, input = shop): XdsSnapshot {
  const snapshot = snapshotsOf(input).get(key)
  if (snapshot === undefined) throw new Error(`no workload ${key}`)
  return snapshot
}

function names(snapshot: XdsSnapshot, typeUrl: TypeUrl): string[] {
  return [...(snapshot.resources.get(typeUrl)?.keys() ?? [])]
}

function shuffle<T>(list: readonly T[], by: number): T[] {
  const at = by % list.length
  return [...list.slice(at), ...list.slice(0, at)].reverse()
}

t.test('names every resource of a workload', async (t) => {
  const web = snapshotOf('shop/web')
  t.same(names(web, TYPE_URLS.listener), [
    'inbound/8001',
    'outbound/9001',
    'outbound/9002',
    'outbound/9003',
  ])
  t.same(names(web, TYPE_URLS.cluster), [
    'inbound/8001',
    'outbound/shop/orders/http',
    'outbound/shop/orders/tcp',
  ])
  t.match(names(web, TYPE_URLS.endpoint), ['outbound/shop/orders/http', 'outbound/shop/orders/tcp'])
  t.same(names(web, TYPE_URLS.extensionConfig), ['authz/8001/tls'])
  t.same(names(web, TYPE_URLS.secret), ['ROOTCA'])
  t.same(names(snapshotOf('shop/orders'), TYPE_URLS.extensionConfig), [
    'authz/8002/plaintext',
    'authz/8002/tls',
    'authz/8003/tls',
    'rbac/8002/passthrough',
    'rbac/8004/tls',
  ])
})

t.test('a proxy before authz/chain is given two slots, and all else as it is', async (t) => {
  const newest = snapshotOf('shop/orders')
  t.equal(newest.older?.lacking, 'authz/chain')
  const older = newest.older?.snapshot
  if (older === undefined) throw new Error('no older form')
  t.equal(newest.older?.snapshot, older, 'made once')
  t.same(names(older, TYPE_URLS.extensionConfig), [
    'ext_authz/8002/plaintext',
    'ext_authz/8002/tls',
    'ext_authz/8003/tls',
    'rbac/8002/passthrough',
    'rbac/8002/plaintext',
    'rbac/8002/tls',
    'rbac/8003/tls',
    'rbac/8004/tls',
  ])
  t.same(checkSnapshot(older), [])
  for (const type of [TYPE_URLS.cluster, TYPE_URLS.secret, TYPE_URLS.endpoint]) {
    t.equal(
      [...(older.resources.get(type) ?? [])].join(),
      [...(newest.resources.get(type) ?? [])].join(),
    )
  }
  const tree = JSON.stringify(toXdsJson(older, TYPE_URLS.extensionConfig))
  t.match(tree, /"name":"decided"/, 'which says that its second slot is to be skipped')
  const tcpOnly = makeInput({
    workloadEntries: [makeWorkloadEntry('db', { inbound: [{ port: 1, protocol: 'TCP' }] })],
  })
  t.equal(snapshotOf('shop/db', tcpOnly).older, undefined, 'TCP has always had one')
})

t.test('the call to the sidecar is there exactly when the rules do not decide all', async (t) => {
  const rego = { module: 'x', entrypoint: 'a/allow', regoVersion: 'V1' as const }
  const compiled = { entrypoint: 'a/allow', wasmDigest: '0', data: {}, readsBody: false }
  const policies = [...shop.policies, { object: makePolicy('rego', { rego }), rego: compiled }]
  const [lowered] = toXdsJson(snapshotOf('shop/web'), TYPE_URLS.extensionConfig)
  t.match(lowered, { typedConfig: { '@type': /rbac\.v3\.RBAC$/, shadowMatcher: undefined } })
  const [mixed] = toXdsJson(
    snapshotOf('shop/web', { ...shop, policies }),
    TYPE_URLS.extensionConfig,
  )
  t.match(mixed, {
    typedConfig: {
      '@type': /FilterChainConfig$/,
      defaultFilterChain: {
        filters: [
          { name: 'rbac', typedConfig: { shadowMatcher: {} } },
          { name: 'ext_authz', typedConfig: { filterEnabledMetadata: { invert: true } } },
        ],
      },
    },
  })
})

t.test('the same manifests in any order give the same bytes', async (t) => {
  const expected = snapshotsOf(shop)
  for (let by = 1; by < 6; by++) {
    const shuffled = snapshotsOf(
      {
        ...shop,
        workloadEntries: shuffle(shop.workloadEntries, by),
        policies: shuffle(shop.policies, by),
        peerAuthentications: shuffle(shop.peerAuthentications, by),
      },
      shuffle(trustBundle, by),
    )
    t.strictSame(shuffled, expected)
  }
})

t.test('a change of rules touches the deciding filters and nothing else', async (t) => {
  const before = snapshotOf('shop/web')
  const after = snapshotOf('shop/web', { ...shop, policies: shop.policies.slice(1) })
  t.not(after.version, before.version)
  for (const [typeUrl, resources] of before.resources) {
    if (typeUrl === TYPE_URLS.extensionConfig) continue
    t.strictSame(after.resources.get(typeUrl), resources, typeUrl)
  }
  const changed = names(before, TYPE_URLS.extensionConfig).filter(
    (name) =>
      before.resources.get(TYPE_URLS.extensionConfig)?.get(name)?.version !==
      after.resources.get(TYPE_URLS.extensionConfig)?.get(name)?.version,
  )
  t.same(changed, ['authz/8001/tls'])
})

t.test(
  'a server-first port is withheld from a sidecar whose bootstrap lacks what it needs',
  async (t) => {
    const requiresOf = (serverFirst: boolean) => {
      const inbound = [{ port: 8009, protocol: 'TCP' as const, serverFirst }]
      const workloadEntries = [makeWorkloadEntry('web', { inbound })]
      return snapshotOf('shop/web', {
        ...shop,
        peerAuthentications: [],
        policies: [],
        workloadEntries,
      }).requires
    }
    t.same(requiresOf(true), ['port/serverFirst'])
    t.same(requiresOf(false), undefined)
  },
)

t.test('a change of mode keeps the TLS chain as it is', async (t) => {
  const chainsOf = (mode: 'STRICT' | 'PERMISSIVE') => {
    const mesh = makeMesh({ mtls: { mode, minTLSVersion: 'TLSv1_3' } })
    const snapshot = snapshotOf('shop/web', { ...shop, peerAuthentications: [], mesh })
    const value = snapshot.resources.get(TYPE_URLS.listener)?.get('inbound/8001')?.value
    const listener = fromBinary(ListenerSchema, value ?? new Uint8Array())
    const { filterChainMatcher: _, ...others } = listener
    const rest = toBinary(ListenerSchema, { ...others, filterChains: [] })
    return { chains: listener.filterChains, rest }
  }
  const strict = chainsOf('STRICT')
  const permissive = chainsOf('PERMISSIVE')
  t.same(
    strict.chains.map((c) => c.name),
    ['tls'],
  )
  t.same(
    permissive.chains.map((c) => c.name),
    ['tls', 'plaintext', 'passthrough'],
  )
  t.strictSame(permissive.chains[0], strict.chains[0])
  t.strictSame(permissive.rest, strict.rest)
})

t.test(
  'versions are content hashes: another root, another secret, the rest as it was',
  async (t) => {
    const before = snapshotOf('shop/web')
    const after = snapshotsOf(shop, [Uint8Array.of(9)]).get('shop/web')
    t.not(after?.version, before.version)
    t.strictSame(after?.resources.get(TYPE_URLS.listener), before.resources.get(TYPE_URLS.listener))
  },
)

t.test('a root twice is one root', async (t) => {
  const [root] = trustBundle
  if (root === undefined) return
  t.strictSame(snapshotsOf(shop, [root, root]), snapshotsOf(shop, [root]))
})

t.test('refuses an empty trust bundle: it would trust anyone', async (t) => {
  t.throws(() => snapshotsOf(shop, []), /at least one root/)
})

t.test('where no server is trusted, no certificate fits', async (t) => {
  const input = makeInput({
    workloadEntries: [makeWorkloadEntry('web', { outbound: [{ port: 9001, service: 'gone' }] })],
  })
  const [cluster] = toXdsJson(snapshotOf('shop/web', input), TYPE_URLS.cluster)
  t.match(JSON.stringify(cluster), /"exact":"postern:no-server"/)
  t.match(toXdsJson(snapshotOf('shop/web', input), TYPE_URLS.endpoint), [
    { clusterName: 'outbound/shop/gone/http' },
  ])
})

t.test('finds names that lead nowhere, in both directions', async (t) => {
  const { resources } = snapshotOf('shop/web')
  t.same(checkSnapshot({ version: '', resources }), [])
  const without = (typeUrl: TypeUrl, ...gone: string[]) =>
    toXdsSnapshot(
      new Map(
        [...resources].map(([type, map]) => [
          type,
          [...map.values()].filter((r) => type !== typeUrl || !gone.includes(r.name)),
        ]),
      ),
    )
  const endpoints = names({ version: '', resources }, TYPE_URLS.endpoint)[1] ?? ''
  t.same(checkSnapshot(without(TYPE_URLS.endpoint, endpoints)), [
    `ClusterLoadAssignment ${endpoints} is referred to, but not there`,
  ])
  t.same(checkSnapshot(without(TYPE_URLS.extensionConfig, 'authz/8001/tls')), [
    'TypedExtensionConfig authz/8001/tls is referred to, but not there',
  ])
  t.same(checkSnapshot(without(TYPE_URLS.secret, 'ROOTCA')), [
    'Secret ROOTCA is referred to, but not there',
  ])
  t.same(checkSnapshot(without(TYPE_URLS.cluster, 'inbound/8001')), [
    'Cluster inbound/8001 is referred to, but not there',
  ])
  t.same(checkSnapshot(without(TYPE_URLS.listener, 'outbound/9002')), [
    'Cluster outbound/shop/orders/tcp is there, but nothing refers to it',
  ])
  const extra = new Map([...resources].map(([type, map]) => [type, [...map.values()]] as const))
  extra.set(TYPE_URLS.endpoint, [
    ...(extra.get(TYPE_URLS.endpoint) ?? []),
    toXdsResource('nobody', new Uint8Array()),
  ])
  t.same(checkSnapshot(toXdsSnapshot(extra)), [
    'ClusterLoadAssignment nobody is there, but nothing refers to it',
  ])

  const manager = create(HttpConnectionManagerSchema, {
    routeSpecifier: { case: 'rds', value: { routeConfigName: 'r' } },
  })
  const config = {
    case: 'typedConfig',
    value: anyPack(HttpConnectionManagerSchema, manager),
  } as const
  const listener = create(ListenerSchema, {
    filterChains: [{ filters: [{ name: 'http', configType: config }] }],
  })
  const listeners = [toXdsResource('l', toBinary(ListenerSchema, listener))]
  t.same(checkSnapshot(toXdsSnapshot(new Map([[TYPE_URLS.listener, listeners]]))), [
    'RouteConfiguration r is referred to, but not there',
  ])
  const to = (cluster: string) => ({
    action: {
      case: 'route' as const,
      value: { clusterSpecifier: { case: 'cluster' as const, value: cluster } },
    },
  })
  const routes = create(RouteConfigurationSchema, { virtualHosts: [{ routes: [to('c')] }] })
  const encoded = toBinary(RouteConfigurationSchema, routes)
  const both = new Map([
    [TYPE_URLS.listener, listeners],
    [TYPE_URLS.route, [toXdsResource('r', encoded), toXdsResource('other', encoded)]],
  ])
  t.same(checkSnapshot(toXdsSnapshot(both)), [
    'Cluster c is referred to, but not there',
    'RouteConfiguration other is there, but nothing refers to it',
  ])
})
