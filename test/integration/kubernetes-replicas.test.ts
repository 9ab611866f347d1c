/**
 * "Enforced n/m" with two controllers on a real API server: each proxy is connected to one of them, and status counts all.
 * A proxy that moves, a replica that ends and one that is killed are counted as what they are.
 */
import t, { type Test } from 'tap'
import { Ledger } from '../../bench/fleet/ledger.ts'
import { FleetProxy } from '../../bench/fleet/proxy.ts'
import type { Svid } from '../../sidecar/ports.ts'
import { startApiServer } from '../kit/apiserver.ts'
import { type ControllerProcess, startController } from '../kit/controller.ts'
import { KubeCluster } from '../kit/kube-cluster.ts'
import { podJson } from '../kit/kube-objects.ts'
import { attestPod } from '../kit/pod-attestation.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

const OBJECTS = `
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example }
---
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
---
kind: AuthorizationPolicy
metadata: { name: all, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: ServiceAccount, name: web }]
  rules: [{ to: [{ operation: { paths: ["/a"] } }] }]
`
const DEADLINE = { signal: AbortSignal.timeout(100_000) }
const SPIFFE_ID = 'spiffe://shop.example/ns/shop/sa/web'

const server = await startApiServer(t, ['--authorization-mode=RBAC'])
const cluster = new KubeCluster(server)
await cluster.prepare({ shop: ['web'], 'postern-system': [] })
await cluster.applyYaml(OBJECTS)
const uids = new Map<string, string>()
for (const name of ['one', 'two']) {
  const json = podJson(`shop/${name}`, {
    // The test itself is both sidecars: they call from this address.
    ip: '127.0.0.1',
    serviceAccount: 'web',
    spec: {
      containers: [{ name: 'app', image: 'app' }],
      initContainers: [{ name: 'postern-sidecar', image: 'sidecar', restartPolicy: 'Always' }],
    },
  })
  uids.set(name, await cluster.run(json))
}
const kubeconfig = server.kubeconfig(await cluster.controllerToken())
const start = () => startController(t, { kubeconfig, state: tempDir(t) })
const leader = start()
await leader.process.waitForLine(/this replica leads"/, DEADLINE)
const follower = start()
await Promise.all([leader, follower].map((c) => c.meshPort()))
const roots = await cluster.roots('postern-system')

/** A proxy that takes what it is served and says so, as a sidecar does; returns the way to end it. */
async function connect(t: Pick<Test, 'teardown'>, controller: ControllerProcess, name: string) {
  const pod = { name, uid: uids.get(name) ?? '' }
  const target = `127.0.0.1:${await controller.meshPort()}`
  const token = await cluster.token('shop/web', 'postern-ca', pod)
  const svid: Svid = await attestPod(target, { roots, uri: SPIFFE_ID, token })
  const proxy = new FleetProxy({ target, svid, ledger: new Ledger() })
  proxy.start()
  const end = () => proxy.stop()
  t.teardown(end)
  return end
}

async function enforced(): Promise<{ enforced?: string; message?: string }> {
  const object = { kind: 'AuthorizationPolicy', metadata: { namespace: 'shop', name: 'all' } }
  const { status } = (await cluster.get(object)) as {
    status?: { enforced: string; conditions: readonly { type: string; message: string }[] }
  }
  const condition = status?.conditions.find(({ type }) => type === 'Enforced')
  return { enforced: status?.enforced ?? '', message: condition?.message ?? '' }
}

const isEnforced = (count: string) =>
  waitFor(async () => (await enforced()).enforced === count, {
    ...DEADLINE,
    what: `enforced ${count}`,
  })

async function boards(): Promise<number> {
  const all = await cluster.list('ConfigMap', 'postern-system')
  return all.filter(({ metadata }) =>
    (metadata as { name: string }).name.startsWith('postern-replica-'),
  ).length
}

t.test('proxies of both replicas count', async (t) => {
  await isEnforced('0/2')
  await connect(t, leader, 'one')
  await isEnforced('1/2')
  t.match(await enforced(), { message: /waiting for shop\/two \(not connected\)/ })
  const end = await connect(t, follower, 'two')
  await isEnforced('2/2')
  const seen = async (c: ControllerProcess) =>
    (await c.object('namespaces/shop/authorizationpolicies/all'))?.status as { enforced?: string }
  const isSeen = async () => (await seen(follower)).enforced === '2/2'
  await waitFor(isSeen, { ...DEADLINE, what: 'the same, asked of the follower' })
  end()
  await isEnforced('1/2')
  await connect(t, follower, 'two')
  await isEnforced('2/2')
  t.equal(await boards(), 2)
})

t.test(
  'the replica of a proxy is killed: its word ends, and what it left is removed',
  async (t) => {
    await connect(t, leader, 'one')
    await connect(t, follower, 'two')
    await isEnforced('2/2')
    follower.process.kill('SIGKILL')
    await follower.process.exited
    t.equal((await enforced()).enforced, '2/2', 'for some seconds nobody can tell')
    await isEnforced('1/2')
    const third = start()
    await third.meshPort()
    await connect(t, third, 'two')
    await isEnforced('2/2')
    await third.process.stop()
    await isEnforced('1/2')
    t.ok((await boards()) <= 2, 'one that ends takes its word back')
  },
)
