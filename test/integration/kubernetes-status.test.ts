/**
 * Statuses, Events and the leader on a real API server, with two controllers: one writes, one is ready to. The leader is
 * killed while policies change.
 */
import { pino } from 'pino'
import t from 'tap'
import { createKubeClient } from '../../controller/adapters/kubernetes/kube-client.ts'
import { Lease } from '../../controller/adapters/kubernetes/lease.ts'
import { startApiServer } from '../kit/apiserver.ts'
import { startController } from '../kit/controller.ts'
import { KubeCluster } from '../kit/kube-cluster.ts'
import { podJson } from '../kit/kube-objects.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

const MESH = `
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example }
---
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`
const POLICY = (name: string, account: string, path: string) => `
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: ServiceAccount, name: ${account} }]
  rules: [{ to: [{ operation: { paths: ["${path}"] } }] }]
`
const DEADLINE = { signal: AbortSignal.timeout(180_000) }

interface Stored {
  readonly metadata: {
    readonly resourceVersion: string
    readonly managedFields: readonly { manager: string; operation: string; subresource?: string }[]
  }
  readonly status?: {
    readonly observedGeneration: number
    readonly conditions: readonly { type: string; status: string; message: string }[]
  }
}

const server = await startApiServer(t, ['--authorization-mode=RBAC'])
const cluster = new KubeCluster(server)
await cluster.prepare({ shop: ['web'], 'postern-system': [] })
await cluster.applyYaml(MESH)
await cluster.run(
  podJson('shop/web', {
    ip: '127.0.0.1',
    spec: {
      containers: [{ name: 'app', image: 'app' }],
      initContainers: [{ name: 'postern-sidecar', image: 'sidecar', restartPolicy: 'Always' }],
    },
  }),
)
// With exactly the permissions of docs/reference/rbac.md.
const kubeconfig = server.kubeconfig(await cluster.controllerToken())
const start = () => startController(t, { kubeconfig, state: tempDir(t) })
const leader = start()
await leader.process.waitForLine(/this replica leads"/, DEADLINE)
const second = start()
await second.meshPort()

async function policy(name: string): Promise<Stored> {
  const object = { kind: 'AuthorizationPolicy', metadata: { namespace: 'shop', name } }
  return (await cluster.get(object)) as unknown as Stored
}

/** Waits for the verdict on this generation, as a user reads it. */
async function verdict(name: string, generation: number) {
  const find = async () => {
    const { status } = await policy(name)
    if (status?.observedGeneration !== generation) return undefined
    return status.conditions.find(({ type }) => type === 'Accepted')
  }
  return await waitFor(find, {
    ...DEADLINE,
    what: `a verdict on ${name}, generation ${generation}`,
  })
}

t.test('what is accepted says so, by server-side apply', async (t) => {
  await cluster.applyYaml(POLICY('good', 'web', '/a'))
  t.match(await verdict('good', 1), { status: 'True' })
  const { managedFields } = (await policy('good')).metadata
  t.match(
    managedFields.filter(({ subresource }) => subresource === 'status'),
    [{ manager: 'postern-controller', operation: 'Apply' }],
  )
})

t.test('what is refused says why and what to do, also by an Event', async (t) => {
  const { resourceVersion } = (await policy('good')).metadata
  await cluster.applyYaml(POLICY('bad', 'nobody', '/a'))
  t.match(await verdict('bad', 1), { status: 'False', message: /no workload is selected/ })
  const events = async () => {
    const all = await cluster.list('Event', 'shop')
    return all.filter(({ regarding }) => (regarding as { name: string }).name === 'bad')
  }
  const told = await waitFor(
    async () => ((await events()).length > 0 ? events() : undefined),
    DEADLINE,
  )
  t.match(told, [
    {
      type: 'Warning',
      reason: 'ERR_TARGET_SELECTS_NOTHING',
      note: /check the name, the labels and the namespace/,
      regarding: { kind: 'AuthorizationPolicy', namespace: 'shop' },
    },
  ])
  t.equal(told.length, 1)
  await cluster.applyYaml(POLICY('bad', 'web', '/a'))
  t.match(await verdict('bad', 2), { status: 'True' }, 'mended')
  t.equal(
    (await policy('good')).metadata.resourceVersion,
    resourceVersion,
    'others are not touched',
  )
  t.equal((await events()).length, 1)
})

t.test('the leader is killed: another writes what it could not', async (t) => {
  const holder = async () => {
    const lease = {
      kind: 'Lease',
      metadata: { namespace: 'postern-system', name: 'postern-controller' },
    }
    const { spec } = (await cluster.get(lease)) as { spec: { holderIdentity: string } }
    return spec.holderIdentity
  }
  const before = await holder()
  t.equal(second.logged('this replica leads').length, 0, 'one leads, and one only')
  leader.process.kill('SIGKILL')
  await leader.process.exited
  const startMs = performance.now()
  await cluster.applyYaml(POLICY('good', 'web', '/b'))
  t.match(await verdict('good', 2), { status: 'True' })
  t.not(await holder(), before)
  t.comment(`a new leader wrote after ${Math.round(performance.now() - startMs)} ms`)
})

t.test('a leader that stops gives the lease back', async (t) => {
  const client = createKubeClient(kubeconfig)
  t.teardown(() => client.close())
  const clock = { now: () => Date.now(), monotonic: () => performance.now() }
  // A name of its own would need permissions of its own: this is the controllers' Lease, in their absence.
  await second.process.stop()
  const make = (identity: string) =>
    new Lease({
      client,
      namespace: 'postern-system',
      name: 'postern-controller',
      identity,
      clock,
      log: pino({ level: 'silent' }),
      onChange: () => {},
      // Were it not given back, the other would wait for longer than this test does.
      durationMs: identity === 'a' ? 600_000 : 3000,
    })
  const [a, b] = [make('a'), make('b')]
  a.start()
  await waitFor(() => a.isLeader(), { ...DEADLINE, what: 'the one that is there' })
  b.start()
  t.teardown(() => b.stop())
  t.notOk(b.isLeader())
  await a.stop()
  t.notOk(a.isLeader())
  await waitFor(() => b.isLeader(), { ...DEADLINE, what: 'the other' })
})
