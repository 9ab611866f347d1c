/** Pods, Services and EndpointSlices become the mesh: workloads, what callers see, who is refused, who is left alone. */
import t from 'tap'
import { findUnguarded, readCluster } from '../../../../../controller/core/kubernetes/cluster.ts'
import type { Service, Translation, Workload } from '../../../../../controller/core/model/mesh.ts'
import { translate } from '../../../../../controller/core/translate/index.ts'
import { kubeObjects, podJson, serviceJson, sliceJson } from '../../../../kit/kube-objects.ts'
import {
  makeInput,
  makeMesh,
  makePeerAuthentication,
  makePolicy,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../../../../kit/objects.ts'

type Objects = Parameters<typeof kubeObjects>[0]
type Input = Parameters<typeof makeInput>[0]

const APP = { app: 'orders' }
const HTTP = { name: 'http', port: 80, targetPort: 8080 }
const caller = podJson('shop/web', { ip: '10.1.0.9' })
const orders = podJson('shop/orders', { ip: '10.1.0.1', labels: APP })
const service = serviceJson('shop/orders', APP, { ports: [HTTP] })
const SLICE = [{ name: 'http', port: 8080 }]
const slice = sliceJson('shop/orders', SLICE, { '10.1.0.1': { uid: 'uid-orders' } })

function mesh(objects: Objects, input: Input = {}): Translation {
  return translate(makeInput({ ...input, cluster: readCluster(kubeObjects(objects)) }))
}

function workload(translation: Translation, key: string): Workload | undefined {
  return translation.model?.workloads.get(key)
}

/** As the calling pod sees it. */
function seen(translation: Translation, key: string): Service | undefined {
  const services = workload(translation, 'shop/web')?.capture?.services ?? []
  return services.find(({ namespace, name }) => `${namespace}/${name}` === key)
}

t.test('a pod is a workload, with its ports captured', async (t) => {
  const found = mesh({ pods: [orders, caller], services: [service], slices: [slice] })
  t.same(found.problems, [])
  const pod = workload(found, 'shop/orders')
  t.match(pod, {
    uid: 'uid-orders',
    serviceAccount: 'orders',
    spiffeId: 'spiffe://shop.example/ns/shop/sa/orders',
    service: 'orders',
    services: ['orders'],
    labels: APP,
    outbound: [],
    capture: { address: '127.0.0.1', port: 15001, mode: 'RegistryOnly' },
    inboundCapture: {
      port: 15006,
      appAddress: '10.1.0.1',
      appSource: '127.0.0.6',
      otherMtls: 'STRICT',
    },
  })
  t.same(pod?.inbound, [
    {
      name: 'http',
      address: '10.1.0.1',
      port: 8080,
      appAddress: '10.1.0.1',
      appPort: 8080,
      protocol: 'HTTP',
      serverFirst: false,
      appSource: '127.0.0.6',
      mtls: 'STRICT',
    },
  ])
  t.same(seen(found, 'shop/orders'), {
    namespace: 'shop',
    name: 'orders',
    hosts: [],
    addresses: ['10.96.0.10'],
    ports: [
      {
        number: 80,
        destination: { namespace: 'shop', service: 'orders', port: 'http' },
        protocol: 'HTTP',
        endpoints: [{ address: '10.1.0.1', port: 8080, mtls: 'STRICT' }],
        serverIds: ['spiffe://shop.example/ns/shop/sa/orders'],
      },
    ],
  })
})

t.test('who is a workload', async (t) => {
  const cases: readonly (readonly [string, Parameters<typeof podJson>[1], boolean])[] = [
    ['running', { ip: '10.1.0.1' }, true],
    ['without an address yet', {}, false],
    [
      'pending, with an address: its init containers run',
      { ip: '10.1.0.1', status: { phase: 'Pending' } },
      true,
    ],
    [
      'about to end',
      { ip: '10.1.0.1', metadata: { deletionTimestamp: '2026-11-24T09:00:00Z' } },
      true,
    ],
    ['succeeded', { ip: '10.1.0.1', status: { phase: 'Succeeded' } }, false],
    ['failed', { ip: '10.1.0.1', status: { phase: 'Failed' } }, false],
    ['on the network of its node', { ip: '10.1.0.1', spec: { hostNetwork: true } }, false],
    ['without a sidecar', { ip: '10.1.0.1', sidecar: false }, false],
    ['IPv6', { ip: 'fd00::1' }, true],
  ]
  for (const [name, options, expected] of cases) {
    const found = mesh({ pods: [podJson('shop/orders', options)] })
    t.equal(workload(found, 'shop/orders') !== undefined, expected, name)
    t.same(found.problems, [], name)
  }
  const six = workload(mesh({ pods: [podJson('shop/orders', { ip: 'fd00::1' })] }), 'shop/orders')
  t.equal(six?.capture?.address, '::1', 'what an IPv6 pod calls comes to its own loopback')
})

t.test('nobody has the controller’s own identity', async (t) => {
  const pod = podJson('postern-system/x', { ip: '10.1.0.1', serviceAccount: 'postern-controller' })
  const found = mesh({ pods: [pod] })
  t.equal(found.model?.workloads.size, 0)
  t.match(found.problems, [{ code: 'ERR_SPIFFE_ID', object: { kind: 'Pod', name: 'x' } }])
})

t.test('ports', async (t) => {
  const containers = [
    { containerPort: 9000, name: 'grpc-api' },
    { containerPort: 9090, name: 'metrics' },
    { containerPort: 53, protocol: 'UDP' },
    { containerPort: 15021, name: 'proxy' },
  ]
  const pod = podJson('shop/orders', { ip: '10.1.0.1', labels: APP, ports: containers })
  const two = serviceJson('shop/orders', APP, {
    ports: [
      { name: 'api', port: 80, targetPort: 'grpc-api', appProtocol: 'grpc' },
      { name: 'mysql', port: 3306, targetPort: 3306 },
      { name: 'nowhere', port: 81, targetPort: 'no-such-port' },
      { name: 'dns', port: 53, targetPort: 53, protocol: 'UDP' },
      { name: 'steal', port: 15006, targetPort: 15006 },
    ],
  })
  const found = workload(mesh({ pods: [pod], services: [two] }), 'shop/orders')
  t.same(
    found?.inbound.map((p) => [p.port, p.name, p.protocol, p.serverFirst]),
    [
      [3306, 'mysql', 'TCP', true],
      [9000, 'api', 'GRPC', false],
      [9090, 'metrics', 'HTTP', false],
    ],
    'named ports are found, UDP and the proxy’s own are left out',
  )
})

t.test(
  'one port of many Services: the oldest says what it speaks, and the other is told',
  async (t) => {
    const metadata = { creationTimestamp: '2026-11-24T07:00:00Z' }
    const older = serviceJson('shop/z', APP, { ports: [HTTP], metadata })
    const younger = serviceJson('shop/a', APP, { ports: [{ ...HTTP, appProtocol: 'tcp' }] })
    const found = mesh({ pods: [orders], services: [younger, older] })
    t.match(workload(found, 'shop/orders'), {
      service: 'z',
      services: ['a', 'z'],
      inbound: [{ port: 8080, protocol: 'HTTP' }],
    })
    t.match(found.problems, [
      { code: 'ERR_PORT_CONFLICT', object: { kind: 'Service', namespace: 'shop', name: 'a' } },
    ])
  },
)

t.test(
  'ports that only a rule or a PeerAuthentication names get a chain of their own',
  async (t) => {
    const policy = makePolicy('p', {
      action: 'DENY',
      rules: [
        { to: [{ operation: { ports: [7000, 15020] } }] },
        { to: [{ operation: { notPorts: [7001] } }] },
        { when: [{ key: 'destination.port', values: ['7002'], notValues: ['8080'] }] },
      ],
    })
    const peer = makePeerAuthentication('x', {
      selector: { matchLabels: APP },
      portLevelMtls: { '7003': { mode: 'PERMISSIVE' } },
    })
    const found = mesh(
      { pods: [orders], services: [service] },
      { policies: [{ object: policy }], peerAuthentications: [peer] },
    )
    t.same(found.problems, [])
    t.same(
      workload(found, 'shop/orders')?.inbound.map((p) => [p.port, p.protocol, p.mtls]),
      [
        [7000, 'TCP', 'STRICT'],
        [7001, 'TCP', 'STRICT'],
        [7002, 'TCP', 'STRICT'],
        [7003, 'TCP', 'PERMISSIVE'],
        [8080, 'HTTP', 'STRICT'],
      ],
    )
  },
)

t.test(
  'a policy for a Service reaches the pods of its selector, ready or not, with an address or not',
  async (t) => {
    const target = { group: '', kind: 'Service', name: 'orders' } as const
    const policy = { object: makePolicy('p', { targetRefs: [target], rules: [{}] }) }
    const has = (found: Translation) =>
      workload(found, 'shop/orders')?.policySet.policies.map((p) => p.name)
    t.same(has(mesh({ pods: [orders], services: [service] }, { policies: [policy] })), ['p'])
    const waiting = mesh(
      { pods: [podJson('shop/orders', { labels: APP })], services: [service] },
      { policies: [policy] },
    )
    t.same(waiting.problems, [], 'a pod that starts is somebody')
    for (const alone of [
      { pods: [], services: [service] },
      { pods: [orders], services: [] },
    ]) {
      const found = mesh(alone, { policies: [policy] })
      t.match(found.problems, [{ code: 'ERR_TARGET_SELECTS_NOTHING' }])
    }
    const empty = serviceJson('shop/orders', undefined, { ports: [HTTP] })
    t.match(mesh({ pods: [orders], services: [empty] }, { policies: [policy] }).problems, [
      { code: 'ERR_TARGET_SELECTS_NOTHING' },
    ])
    const other = serviceJson('other/orders', APP, { ports: [HTTP] })
    t.match(mesh({ pods: [orders], services: [other] }, { policies: [policy] }).problems, [
      { code: 'ERR_TARGET_SELECTS_NOTHING' },
    ])
  },
)

t.test('a traffic policy of a Service counts for callers and for its pods', async (t) => {
  const policy = makeTrafficPolicy('p', { limits: { maxRequestBodyBytes: 1024 } })
  const objects = { pods: [orders, caller], services: [service], slices: [slice] }
  const found = mesh(objects, { backendTrafficPolicies: [policy] })
  t.match(seen(found, 'shop/orders')?.ports[0]?.traffic, { limits: { maxRequestBodyBytes: 1024 } })
  t.match(workload(found, 'shop/orders')?.inbound[0]?.limits, { maxRequestBodyBytes: 1024 })
})

t.test('endpoints', async (t) => {
  const plain = podJson('shop/plain', { ip: '10.1.0.2', labels: APP, sidecar: false })
  const host = podJson('shop/host', { ip: '10.9.0.1', labels: APP, spec: { hostNetwork: true } })
  const cases: readonly {
    readonly name: string
    readonly endpoints: Parameters<typeof sliceJson>[2]
    readonly mode?: 'PERMISSIVE' | 'STRICT' | 'DISABLE'
    readonly expected: readonly object[]
  }[] = [
    {
      name: 'not ready: known by its own address only',
      endpoints: { '10.1.0.1': { uid: 'uid-orders', conditions: { ready: false } } },
      expected: [{ address: '10.1.0.1', port: 8080, mtls: 'STRICT', isReady: false }],
    },
    {
      name: 'about to end, and none is ready: called all the same',
      endpoints: {
        '10.1.0.1': {
          uid: 'uid-orders',
          conditions: { ready: false, serving: true, terminating: true },
        },
      },
      expected: [{ address: '10.1.0.1', port: 8080, mtls: 'STRICT' }],
    },
    {
      name: 'a pod without a proxy, where only mutual TLS may be spoken: refused',
      endpoints: { '10.1.0.2': { uid: 'uid-plain' } },
      expected: [{ address: '10.1.0.2', port: 8080, mtls: 'STRICT', isReady: false }],
    },
    {
      name: 'a pod without a proxy, PERMISSIVE: plaintext',
      endpoints: { '10.1.0.2': { uid: 'uid-plain' } },
      mode: 'PERMISSIVE',
      expected: [{ address: '10.1.0.2', port: 8080, mtls: 'DISABLE' }],
    },
    {
      name: 'a pod without a proxy that is named by its address only',
      endpoints: { '10.1.0.2': {} },
      expected: [{ address: '10.1.0.2', port: 8080, mtls: 'STRICT', isReady: false }],
    },
    {
      name: 'a pod on its node’s network',
      endpoints: { '10.9.0.1': { uid: 'uid-host' } },
      mode: 'PERMISSIVE',
      expected: [{ address: '10.9.0.1', port: 8080, mtls: 'DISABLE' }],
    },
    {
      name: 'no pod at all: an address somewhere',
      endpoints: { '192.0.2.7': {} },
      expected: [{ address: '192.0.2.7', port: 8080, mtls: 'DISABLE' }],
    },
    {
      name: 'a workload that is named by its address only',
      endpoints: { '10.1.0.1': {} },
      expected: [{ address: '10.1.0.1', port: 8080, mtls: 'STRICT' }],
    },
    {
      name: 'a pod that is gone, and its address has another now: nobody',
      endpoints: { '10.1.0.1': { uid: 'uid-gone' }, '10.1.0.2': { uid: 'uid-orders' } },
      expected: [],
    },
  ]
  for (const { name, endpoints, mode, expected } of cases) {
    const found = mesh(
      {
        pods: [orders, caller, plain, host],
        services: [service],
        slices: [sliceJson('shop/orders', SLICE, endpoints)],
      },
      mode === undefined ? {} : { mesh: makeMesh({ mtls: { mode, minTLSVersion: 'TLSv1_3' } }) },
    )
    t.same(seen(found, 'shop/orders')?.ports[0]?.endpoints, expected, name)
  }
})

t.test('kinds of Services', async (t) => {
  const pods = [orders, caller]
  const headless = serviceJson('shop/orders', APP, { ports: [HTTP], clusterIPs: ['None'] })
  const found = mesh({ pods, services: [headless], slices: [slice] })
  t.same(seen(found, 'shop/orders')?.addresses, [])
  t.equal(seen(found, 'shop/orders')?.ports[0]?.endpoints.length, 1)

  const external = serviceJson('shop/away', APP, {
    type: 'ExternalName',
    externalName: 'a.example',
  })
  t.equal(seen(mesh({ pods, services: [external] }), 'shop/away'), undefined, 'a name of DNS only')

  const bare = serviceJson('shop/db', undefined, { ports: [{ port: 5432 }] })
  const db = sliceJson('shop/db', [{ name: '', port: 5432 }], { '192.0.2.1': {} })
  t.match(seen(mesh({ pods, services: [bare], slices: [db] }), 'shop/db')?.ports, [
    {
      number: 5432,
      destination: { port: '5432' },
      endpoints: [{ address: '192.0.2.1', mtls: 'DISABLE' }],
      serverIds: [],
    },
  ])

  const multi = serviceJson('shop/orders', APP, {
    ports: [HTTP, { name: 'tcp-admin', port: 81, targetPort: 8081 }],
  })
  const both = sliceJson('shop/orders', [...SLICE, { name: 'tcp-admin', port: 8081 }], {
    '10.1.0.1': { uid: 'uid-orders' },
  })
  t.match(seen(mesh({ pods, services: [multi], slices: [both] }), 'shop/orders')?.ports, [
    { number: 80, protocol: 'HTTP', endpoints: [{ port: 8080 }] },
    { number: 81, protocol: 'TCP', endpoints: [{ port: 8081 }] },
  ])
})

t.test('a WorkloadEntry takes nothing that is a pod’s or a Service’s', async (t) => {
  const objects = { pods: [orders, caller], services: [service], slices: [slice] }
  const inbound = [{ port: 9000 }]
  const field = (spec: object, name = 'vm') =>
    mesh(objects, {
      workloadEntries: [makeWorkloadEntry(name, { address: '10.5.0.1', inbound, ...spec })],
    }).problems.map((p) => p.field)
  t.same(field({}), [])
  t.same(field({}, 'orders'), ['metadata.name'])
  t.same(field({ address: '10.1.0.1' }), ['spec.address'])
  t.same(field({ serviceAddresses: ['10.1.0.9'] }), ['spec.serviceAddresses[0]'])
  t.same(field({ serviceAddresses: ['10.96.0.10'] }), ['spec.serviceAddresses[0]'])
  t.same(field({ serviceHosts: ['orders.shop'] }), ['spec.serviceHosts[0]'])
})

t.test('a WorkloadEntry joins the Service of its name, port by port', async (t) => {
  const vm = makeWorkloadEntry('vm', {
    service: 'orders',
    address: '10.5.0.1',
    inbound: [{ name: 'http', port: 9000 }],
  })
  const found = mesh(
    { pods: [orders, caller], services: [service], slices: [slice] },
    { workloadEntries: [vm] },
  )
  t.same(found.problems, [])
  t.match(seen(found, 'shop/orders')?.ports, [
    {
      number: 80,
      endpoints: [{ address: '10.1.0.1' }, { address: '10.5.0.1', port: 9000 }],
      serverIds: ['spiffe://shop.example/ns/shop/sa/orders', 'spiffe://shop.example/ns/shop/sa/vm'],
    },
  ])
})

t.test(
  'the order of objects does not matter, and what is the same stays the same value',
  async (t) => {
    const pods = Array.from({ length: 8 }, (_, i) =>
      podJson(`shop/p${i}`, { ip: `10.1.1.${i}`, labels: { app: i % 2 ? 'a' : 'b' } }),
    )
    const services = ['a', 'b'].map((app) => serviceJson(`shop/${app}`, { app }, { ports: [HTTP] }))
    const slices = ['a', 'b'].map((app, n) =>
      sliceJson(
        `shop/${app}`,
        SLICE,
        Object.fromEntries(
          pods.flatMap((_, i) => (i % 2 === 1 - n ? [[`10.1.1.${i}`, { uid: `uid-p${i}` }]] : [])),
        ),
      ),
    )
    const kept = kubeObjects({ pods, services, slices })
    const input = makeInput()
    const run = (objects: typeof kept) =>
      translate({ ...input, cluster: readCluster(objects) }).model
    const first = run(kept)
    const shuffled = {
      ...kept,
      pods: [...kept.pods].reverse(),
      services: [...kept.services].reverse(),
      endpointSlices: [...kept.endpointSlices].reverse(),
    }
    const again = run(shuffled)
    t.same(again, first)
    for (const [key, value] of first?.workloads ?? [])
      t.equal(again?.workloads.get(key), value, key)
    const gone = run({ ...kept, pods: kept.pods.slice(1) })
    t.not(gone?.workloads.get('shop/p1')?.capture, undefined)
    t.equal(gone?.workloads.get('shop/p1')?.inbound, first?.workloads.get('shop/p1')?.inbound)
  },
)

t.test('what is not read is dropped', async (t) => {
  const [pod] = kubeObjects({ pods: [orders] }).pods
  t.notMatch(JSON.stringify(pod), /NOT|image|env/)
})

t.test('who should be guarded, and is not', async (t) => {
  const labelled = {
    metadata: { name: 'shop', uid: 'n', labels: { 'postern.dev/inject': 'enabled' } },
  }
  const bare = podJson('shop/bare', { ip: '10.1.0.5', sidecar: false })
  const away = podJson('kube-system/x', { ip: '10.1.0.6', sidecar: false })
  const objects = kubeObjects({ pods: [orders, bare, away], namespaces: [labelled] })
  t.same(findUnguarded(objects), ['shop/bare'])
})
