/**
 * The controller on a real API server: what is written there comes to proxies by xDS, through cut watches, a restarted
 * API server, and versions that are gone. Pods have no kubelet here: the test writes their status.
 */
import { fromBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { Informer } from '../../controller/adapters/kubernetes/informer.ts'
import {
  createKubeClient,
  type KubeClient,
} from '../../controller/adapters/kubernetes/kube-client.ts'
import { PODS } from '../../controller/adapters/kubernetes/resources.ts'
import { ClusterLoadAssignmentSchema } from '../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { controllerCredentials } from '../../sidecar/adapters/grpc/controller-client.ts'
import { startApiServer } from '../kit/apiserver.ts'
import { startController } from '../kit/controller.ts'
import { KubeCluster } from '../kit/kube-cluster.ts'
import { podJson, serviceJson, sliceJson } from '../kit/kube-objects.ts'
import { attestPod } from '../kit/pod-attestation.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'
import { XdsStream } from '../kit/xds-stream.ts'

const MESH = `
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example }
---
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`
const ALLOW = (path: string) => `
kind: AuthorizationPolicy
metadata: { name: orders, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: orders }]
  rules: [{ to: [{ operation: { paths: ["${path}"] } }] }]
`
const APP = { app: 'orders' }
const SERVICE = serviceJson('shop/orders', APP, {
  ports: [{ name: 'http', port: 80, targetPort: 8080 }],
  clusterIPs: undefined,
})
const DEADLINE = { signal: AbortSignal.timeout(120_000) }

function pod(name: string, ip: string) {
  const account = name === 'web' ? 'web' : 'orders'
  return podJson(`shop/${name}`, {
    ip,
    labels: { app: account },
    serviceAccount: account,
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'app', image: 'app' }],
      initContainers: [{ name: 'postern-sidecar', image: 'sidecar', restartPolicy: 'Always' }],
    },
  })
}

const server = await startApiServer(t)
const cluster = new KubeCluster(server)
await cluster.prepare({ shop: ['web', 'orders'], 'postern-system': [] })
const uids = new Map<string, string>()

async function run(name: string, ip: string): Promise<void> {
  uids.set(name, await cluster.run(pod(name, ip)))
}

/** What Kubernetes' own controller would write of these pods. */
async function ready(...pods: readonly (readonly [name: string, ip: string])[]): Promise<void> {
  const all = Object.fromEntries(pods.map(([name, ip]) => [ip, { uid: uids.get(name) ?? '' }]))
  await cluster.apply(sliceJson('shop/orders', [{ name: 'http', port: 8080 }], all))
}

await cluster.applyYaml(MESH)
await cluster.apply(SERVICE)
// The test itself is the pods' sidecars: they call from this address.
await run('web', '127.0.0.1')
await run('orders-1', '10.1.0.1')
await ready(['orders-1', '10.1.0.1'])
const state = tempDir(t)
const controller = startController(t, { kubeconfig: server.kubeconfig(), state })
const target = `127.0.0.1:${await controller.meshPort()}`
const roots = await cluster.roots('postern-system')
const SPIFFE_ID = 'spiffe://shop.example/ns/shop/sa/web'

const webToken = () =>
  cluster.token('shop/web', 'postern-ca', { name: 'web', uid: uids.get('web') ?? '' })

/** Where the proxy of `web` is told that `orders` is, as it really receives it. */
async function watchEndpoints(t: Pick<Test, 'teardown'>) {
  const svid = await attestPod(target, { roots, uri: SPIFFE_ID, token: await webToken() })
  const client = new grpc.Client(target, controllerCredentials(svid), {
    'grpc.ssl_target_name_override': 'postern-controller',
  })
  t.teardown(() => client.close())
  const nodeId = `shop/web/${uids.get('web')}`
  const stream = new XdsStream({ client, metadata: new grpc.Metadata(), nodeId })
  t.teardown(() => stream.call.cancel())
  stream.send({ type: 'endpoint', subscribe: ['outbound/shop/orders/http'] })
  let addresses: readonly string[] = []
  return async () => {
    for (const response of await stream.rest()) {
      stream.ack(response)
      for (const { resource } of response.resources)
        addresses = addressesOf(resource?.value ?? new Uint8Array())
    }
    return addresses
  }
}

function addressesOf(bytes: Uint8Array): readonly string[] {
  const [group] = fromBinary(ClusterLoadAssignmentSchema, bytes).endpoints
  return (group?.lbEndpoints ?? []).map(({ hostIdentifier }) => {
    const socket =
      hostIdentifier.case === 'endpoint' ? hostIdentifier.value.address?.address : undefined
    return socket?.case === 'socketAddress' ? socket.value.address : '?'
  })
}

const told = await watchEndpoints(t)

function isTold(...addresses: readonly string[]) {
  const isSame = async () => String(await told()) === String(addresses)
  return waitFor(isSame, { ...DEADLINE, what: `endpoints ${addresses}` })
}

/** Wait for the verdict on this generation of the policy: what is served is the mesh that this pass saw. */
async function isAccepted(generation: number) {
  await waitFor(
    async () => {
      const object = await controller.object('namespaces/shop/authorizationpolicies/orders')
      const { conditions = [] } = object?.status ?? {}
      return conditions.some(
        (c) => c.type === 'Accepted' && c.status === 'True' && c.observedGeneration === generation,
      )
    },
    { ...DEADLINE, what: `policy generation ${generation}` },
  )
}

t.test('a pod has its identity by its own token, and nobody else has', async (t) => {
  const web = { name: 'web', uid: uids.get('web') ?? '' }
  const orders = { name: 'orders-1', uid: uids.get('orders-1') ?? '' }
  const asks = { roots, uri: SPIFFE_ID }
  const svid = await attestPod(target, { ...asks, token: await webToken() })
  t.match(svid, { spiffeId: SPIFFE_ID, workload: { namespace: 'shop', ...web } })
  t.equal(svid.certificateChain.length, 1)
  const again = await attestPod(target, { ...asks, token: await webToken(), svid })
  t.equal(again.spiffeId, SPIFFE_ID, 'renewed: certificate and token')
  const ordersId = 'spiffe://shop.example/ns/shop/sa/orders'
  const refused: readonly (readonly [string, Parameters<typeof attestPod>[1], RegExp])[] = [
    [
      'a token for another audience',
      { ...asks, token: await cluster.token('shop/web', 'https://kubernetes.default.svc', web) },
      /ERR_TOKEN_INVALID/,
    ],
    [
      'a token that is bound to no pod',
      { ...asks, token: await cluster.token('shop/web', 'postern-ca') },
      /ERR_TOKEN_INVALID/,
    ],
    ['no token at all', { ...asks, token: 'x.y.z' }, /ERR_TOKEN_INVALID/],
    [
      "another pod's token",
      { ...asks, uri: ordersId, token: await cluster.token('shop/orders', 'postern-ca', orders) },
      /ERR_PEER_FORBIDDEN: the token came from 127\.0\.0\.1/,
    ],
    [
      'a request for another identity',
      { ...asks, uri: ordersId, token: await webToken() },
      /ERR_PEER_FORBIDDEN/,
    ],
    [
      'a request for whatever there is',
      { roots, token: await webToken() },
      /ERR_PEER_FORBIDDEN: the request must ask/,
    ],
  ]
  for (const [name, request, message] of refused)
    await t.rejects(attestPod(target, request), { message }, name)
  await t.rejects(controller.postern('token', 'create', '--workload', 'shop/web'), {
    message: /ERR_WORKLOAD_NOT_FOUND/,
  })
})

t.test('a proxy is told of the cluster as it changes', async (t) => {
  await isTold('10.1.0.1')
  await run('orders-2', '10.1.0.2')
  await ready(['orders-1', '10.1.0.1'], ['orders-2', '10.1.0.2'])
  await isTold('10.1.0.1', '10.1.0.2')
  await cluster.remove(pod('orders-1', '10.1.0.1'))
  await isTold('10.1.0.2')
  await ready(['orders-2', '10.1.0.2'])
  t.same(await controller.problems(), [])
  const published = await controller.published()
  const nodes = published.workloads.map(({ nodeId }) => nodeId)
  t.same(nodes, [`shop/orders-2/${uids.get('orders-2')}`, `shop/web/${uids.get('web')}`])
})

t.test('policies have the UID and the generation that the API server gave them', async (t) => {
  await cluster.applyYaml(ALLOW('/a'))
  await isAccepted(1)
  await cluster.applyYaml(ALLOW('/b'))
  await isAccepted(2)
  const there = await cluster.get({
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'shop', name: 'orders' },
  })
  const object = await controller.object('namespaces/shop/authorizationpolicies/orders')
  t.match(there, { metadata: { uid: object?.metadata.uid } })
  t.type(object?.metadata.uid, 'string')
})

t.test(
  'an API server that is gone changes nothing, and nothing is lost when it is back',
  async (t) => {
    const before = await controller.published()
    await server.kill()
    await controller.process.waitForLine(/watch failed; what was known stays/)
    t.same(await controller.published(), before)
    t.same(await told(), ['10.1.0.2'])
    await server.restart()
    await run('orders-3', '10.1.0.3')
    await ready(['orders-2', '10.1.0.2'], ['orders-3', '10.1.0.3'])
    await cluster.applyYaml(ALLOW('/c'))
    await isTold('10.1.0.2', '10.1.0.3')
    await isAccepted(3)
  },
)

/** A client whose watches a test cuts, holds back, and gives a version that the server has forgotten. */
function makeFlaky() {
  const client = createKubeClient(server.kubeconfig())
  t.teardown(() => client.close())
  let cut = new AbortController()
  let held: PromiseWithResolvers<void> | undefined
  let isTooOld = false
  const flaky: KubeClient = {
    request: (...args) => client.request(...args),
    close: () => {},
    watch: async (path, options) => {
      await held?.promise
      const asked = isTooOld ? path.replace(/resourceVersion=\d+/, 'resourceVersion=1') : path
      isTooOld = false
      const signal = AbortSignal.any([options.signal, cut.signal])
      await client.watch(asked, { ...options, signal })
    },
  }
  return {
    flaky,
    cut() {
      held = Promise.withResolvers()
      cut.abort(new Error('cut'))
      cut = new AbortController()
    },
    mend(way: { isTooOld: boolean }) {
      isTooOld = way.isTooOld
      held?.resolve()
      held = undefined
    },
  }
}

function probe(name: string) {
  const spec = { containers: [{ name: 'app', image: 'app' }], initContainers: [] }
  return podJson(`shop/${name}`, { labels: { app: 'probe' }, serviceAccount: 'default', spec })
}

t.test('what changes while nobody watches is known afterwards', async (t) => {
  const line = makeFlaky()
  const informer = new Informer({
    resource: { ...PODS, query: { labelSelector: 'app=probe' } },
    client: line.flaky,
    log: pino({ level: 'silent' }),
    onChange: () => {},
    minBackoffMs: 1,
  })
  informer.start()
  t.teardown(() => informer.stop())
  await informer.synced()
  const has = (...names: readonly string[]) =>
    waitFor(
      () =>
        informer
          .values()
          .map(({ metadata }) => metadata.name)
          .sort()
          .join() === names.join(),
      { ...DEADLINE, what: `pods ${names}` },
    )
  await cluster.run(probe('a'))
  await has('a')
  line.cut()
  await cluster.remove(probe('a'))
  await cluster.run(probe('b'))
  await has('a')
  line.mend({ isTooOld: false })
  await has('b')
  t.equal(informer.lists(), 1, 'the watch went on from where it was')
  line.cut()
  await cluster.remove(probe('b'))
  await cluster.run(probe('c'))
  line.mend({ isTooOld: true })
  await has('c')
  t.equal(informer.lists(), 2, '410 Gone: all was listed again')
})

t.test('what outlives its pod is worth nothing', async (t) => {
  const token = await webToken()
  const svid = await attestPod(target, { roots, uri: SPIFFE_ID, token })
  await cluster.remove(pod('web', '127.0.0.1'))
  await t.rejects(attestPod(target, { roots, uri: SPIFFE_ID, token, svid }), {
    message: /ERR_(TOKEN_INVALID|CA_NOT_READY|PEER_FORBIDDEN)/,
  })
  t.ok(controller.logged('attestation refused').length > 5, 'all of it is written down')
})
