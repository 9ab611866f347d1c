/**
 * Captured inbound connections with a real redirect, as in a pod: whatever port is called, the proxy decides. Two pods
 * of Kubernetes' objects share a network namespace here, so one of them has other capture ports.
 */
import { type Test, t } from 'tap'
import { readCluster } from '../../controller/core/kubernetes/cluster.ts'
import type { MtlsMode } from '../../controller/core/model/mesh.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { startEnvoy } from '../kit/envoy.ts'
import { makeCa, makeSvid } from '../kit/identity.ts'
import { kubeObjects, podJson, serviceJson, sliceJson } from '../kit/kube-objects.ts'
import { startNetns, whyNoNetns } from '../kit/netns.ts'
import { makeInput, makeMesh, makePolicy } from '../kit/objects.ts'

const [WEB_UID, ORDERS_UID] = [65_534, 65_533]
const [WEB, ORDERS, VIP] = ['10.0.0.1', '10.0.0.2', '10.1.0.2'] as const
const OTHER_PORTS = { web: { inboundPort: 15_106, outboundPort: 15_101 } }

/** What a pod's init container writes, for `orders`; and what its neighbour `web` sends out. */
const RULES = `
table ip capture {
  chain output {
    type nat hook output priority -100;
    ip saddr 127.0.0.6 return
    meta skuid ${WEB_UID} ip protocol tcp redirect to :${OTHER_PORTS.web.outboundPort}
    meta skuid ${ORDERS_UID} ip protocol tcp redirect to :15001
    ip daddr ${ORDERS} ip protocol tcp redirect to :15006
  }
}`

const nowMs = Date.now()
const ca = await makeCa({ nowMs: nowMs - 86_400_000 })

function readPods() {
  const labels = { app: 'orders' }
  const port = { name: 'http', port: 80, targetPort: 8080 }
  const slice = sliceJson('shop/orders', [{ name: 'http', port: 8080 }], {
    [ORDERS]: { uid: 'uid-orders' },
  })
  const facts = readCluster(
    kubeObjects({
      pods: [podJson('shop/web', { ip: WEB }), podJson('shop/orders', { ip: ORDERS, labels })],
      services: [serviceJson('shop/orders', labels, { ports: [port], clusterIPs: [VIP] })],
      slices: [slice],
    }),
  )
  const pods = facts.pods.map((pod) =>
    pod.name === 'web' ? { ...pod, capture: OTHER_PORTS.web } : pod,
  )
  return { ...facts, pods }
}

async function startPods(t: Test, mode: MtlsMode, rule: object) {
  const { model, problems } = translate(
    makeInput({
      mesh: makeMesh({ mtls: { mode, minTLSVersion: 'TLSv1_3' } }),
      cluster: readPods(),
      policies: [{ object: makePolicy('p', { rules: [rule] }) }],
    }),
  )
  t.same(problems, [])
  const netns = await startNetns(t, [WEB, ORDERS])
  netns.nft(RULES)
  const start = async (name: string) => {
    const workload = model?.workloads.get(`shop/${name}`)
    if (model === undefined || workload === undefined) throw new Error(`no ${name}`)
    const svid = await makeSvid(ca, { namespace: 'shop', serviceAccount: name, nowMs })
    const snapshot = buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })
    return startEnvoy(t, svid, snapshot, netns.prefix)
  }
  const ports = ['http=8080', 'tcp=9997', 'tcp=9999'].map((p) => p.replace('=', `=${ORDERS}:`))
  const apps = await netns.startAgent(0, ports)
  await start('web')
  await start('orders')
  return {
    apps,
    web: await netns.startAgent(WEB_UID),
    orders: await netns.startAgent(ORDERS_UID),
    /** Not captured: somebody outside the mesh. */
    outsider: apps,
  }
}

const skip = whyNoNetns()
if (skip !== undefined) process.stderr.write(`SKIPPED: capture-inbound.test.ts ${skip}\n`)
const options = { skip: skip ?? false }
const http = (address: string, port: number) => ({ address, port, host: 'orders' })
const ANSWER = { status: 200, text: `${ORDERS}:8080` }

t.test('STRICT: mutual TLS alone reaches the app, by the policies', options, async (t) => {
  const principals = ['web', 'orders'].map((name) => `shop.example/ns/shop/sa/${name}`)
  const { web, orders, outsider, apps } = await startPods(t, 'STRICT', {
    from: [{ source: { principals } }],
    to: [{ operation: { ports: [8080] } }],
  })
  t.same(await web.call(http(VIP, 80)), ANSWER, 'by the Service')
  t.same(await web.call(http(ORDERS, 8080)), ANSWER, "by the pod's own address")
  t.same(await orders.call(http(VIP, 80)), ANSWER, 'the pod itself, through its Service')
  t.equal((await apps.seen()).length, 3)
  t.match(await outsider.call(http(ORDERS, 8080)), { status: 0 }, 'plaintext')
  t.match(await outsider.call({ address: ORDERS, port: 9999 }), { status: 0 }, 'any other port')
  t.match(await outsider.call({ address: ORDERS, port: 15_006 }), { status: 0 }, 'the proxy’s port')
  t.match(await outsider.call(http('127.0.0.1', 15_006)), { status: 0 }, 'the same, by loopback')
  t.match(await web.call({ address: ORDERS, port: 9999 }), { status: 0 }, 'what no Service has')
  t.same(await apps.seen(), [], 'none of them came to an app')
})

t.test('PERMISSIVE: plaintext too, on every port, by the policies', options, async (t) => {
  const { web, outsider, apps } = await startPods(t, 'PERMISSIVE', {
    to: [{ operation: { notPorts: [9999] } }],
  })
  t.same(await web.call(http(VIP, 80)), ANSWER)
  t.same(await outsider.call(http(ORDERS, 8080)), ANSWER)
  t.same(await outsider.call({ address: ORDERS, port: 9997 }), {
    status: 200,
    text: `${ORDERS}:9997`,
  })
  await apps.seen()
  t.match(await outsider.call({ address: ORDERS, port: 9999 }), { status: 0 }, 'the rule names it')
  t.match(await outsider.call({ address: ORDERS, port: 15_006 }), { status: 0 }, 'never itself')
  t.same(await apps.seen(), [])
})
