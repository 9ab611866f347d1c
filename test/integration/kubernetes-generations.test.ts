/**
 * What was accepted outlives all replicas, on a real API server: with bad policies present every controller ends, others
 * start with empty disks, and no answer changes. Large, damaged and lost generations.
 */
import { createHash, randomBytes } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createKubeClient } from '../../controller/adapters/kubernetes/kube-client.ts'
import { RevisionStore } from '../../controller/adapters/kubernetes/revision-store.ts'
import type { AcceptedState } from '../../controller/core/accept/objects.ts'
import { startApiServer } from '../kit/apiserver.ts'
import { type ControllerProcess, startController } from '../kit/controller.ts'
import { KubeCluster } from '../kit/kube-cluster.ts'
import { podJson } from '../kit/kube-objects.ts'
import { makePolicy } from '../kit/objects.ts'
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
const RULES = (account: string, path: string) => `
kind: AuthorizationPolicy
metadata: { name: rules, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: ServiceAccount, name: ${account} }]
  rules: [{ to: [{ operation: { paths: ["${path}"] } }] }]
`
const REGO = (body: string) => `
kind: AuthorizationPolicy
metadata: { name: rego, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: ServiceAccount, name: web }]
  rego: { entrypoint: p/allow, module: "package p\\nallow if ${body}" }
`
const DEADLINE = { signal: AbortSignal.timeout(70_000) }

const server = await startApiServer(t, ['--authorization-mode=RBAC'])
const cluster = new KubeCluster(server)
await cluster.prepare({ shop: ['web'], 'postern-system': [], elsewhere: [] })
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
const kubeconfig = server.kubeconfig(await cluster.controllerToken())
const start = (t: Pick<Test, 'teardown' | 'fail'>) =>
  startController(t, { kubeconfig, state: tempDir(t) })

async function revisions(namespace = 'postern-system'): Promise<readonly string[]> {
  const items = await cluster.list('ControllerRevision', namespace)
  return items.map(({ metadata }) => (metadata as { name: string }).name)
}

const heads = (names: readonly string[]) => names.filter((n) => n.startsWith('postern-generation-'))

/** Until this replica has judged this generation of the policy. */
async function judged(controller: ControllerProcess, name: string, generation: number) {
  const find = async () => {
    const object = await controller.object(`namespaces/shop/authorizationpolicies/${name}`)
    const condition = object?.status?.conditions?.find(({ type }) => type === 'Accepted')
    const isDone = condition?.observedGeneration === generation && condition.status !== 'Unknown'
    return isDone ? condition : undefined
  }
  return waitFor(find, { ...DEADLINE, what: `a verdict on ${name}, ${generation}` })
}

/** What proxies are served: names of contents. */
async function served(controller: ControllerProcess) {
  const { generation, workloads } = await controller.published()
  return { generation, workloads }
}

t.test('all replicas are restarted with bad policies present: no answer changes', async (t) => {
  const pair = [start(t), start(t)]
  await Promise.all(pair.map((c) => c.meshPort()))
  await cluster.applyYaml(RULES('web', '/a'))
  await cluster.applyYaml(REGO('input.a'))
  for (const c of pair) {
    t.match(await judged(c, 'rules', 1), { status: 'True' })
    t.match(await judged(c, 'rego', 1), { status: 'True' })
  }
  await cluster.applyYaml(RULES('nobody', '/b'))
  await cluster.applyYaml(REGO('input.b('))
  for (const c of pair) {
    t.match(await judged(c, 'rules', 2), { status: 'False' })
    t.match(await judged(c, 'rego', 2), { status: 'False', reason: 'ERR_REGO_PARSE' })
  }
  const [before, other] = await Promise.all(pair.map(served))
  t.same(other, before, 'both serve the same')
  t.equal(before?.workloads.length, 1)
  // A leader that ends by itself gives the Lease back, so that the next need not wait for its end.
  await Promise.all(pair.map(({ process }) => process.stop()))
  const next = start(t)
  await next.meshPort()
  t.same(await served(next), before, 'at once, by what is stored')
  t.match(await judged(next, 'rules', 2), { status: 'False' })
  t.match(await judged(next, 'rego', 2), { status: 'False', reason: 'ERR_REGO_PARSE' })
  t.same(await served(next), before, 'and after the manifests were read')
  await next.process.waitForLine(/this replica leads"/, DEADLINE)
  for (const n of [3, 4, 5, 6]) {
    await cluster.applyYaml(RULES('web', `/${n}`))
    t.match(await judged(next, 'rules', n), { status: 'True' })
  }
  const isSmall = async () => heads(await revisions()).length === 2
  await waitFor(isSmall, { ...DEADLINE, what: 'two generations, and no more' })
  await next.process.stop()
})

t.test('a replica that saw another last good takes over what the leader stored', async (t) => {
  const leader = start(t)
  await leader.process.waitForLine(/this replica leads"/, DEADLINE)
  await cluster.applyYaml(RULES('web', '/7'))
  t.match(await judged(leader, 'rules', 7), { status: 'True' })
  await cluster.applyYaml(RULES('nobody', '/8'))
  t.match(await judged(leader, 'rules', 8), { status: 'False' })
  const follower = start(t)
  await follower.meshPort()
  t.same(await served(follower), await served(leader))
  await cluster.applyYaml(REGO('input.c'))
  t.match(await judged(leader, 'rego', 3), { status: 'True' })
  t.match(await judged(follower, 'rego', 3), { status: 'True' })
  await follower.process.waitForLine(/taken over what another replica stored/, DEADLINE)
  t.same(await served(follower), await served(leader))
  t.equal(follower.logged('this replica leads').length, 0)
  await leader.process.stop()
  await follower.process.waitForLine(/this replica leads"/, DEADLINE)
  await cluster.applyYaml(RULES('web', '/9'))
  t.match(await judged(follower, 'rules', 9), { status: 'True' })
  const third = start(t)
  await third.meshPort()
  t.same(await served(third), await served(follower), 'the new leader stores')
})

function makeStore(isLeader = () => true) {
  const client = createKubeClient(server.kubeconfig())
  t.teardown(() => client.close())
  const log = pino({ level: 'silent' })
  const options = { client, namespace: 'elsewhere', isLeader, onNewer: () => {}, log }
  const store = new RevisionStore(options)
  t.teardown(() => store.stop())
  return store
}

const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function stateOf(module: Uint8Array): AcceptedState {
  const wasmDigest = digestOf(module)
  const artifact = { unitDigest: 'u', entrypoint: 'e', wasmDigest, readsBody: false, data: {} }
  const accepted = { object: makePolicy('p', {}), source: { file: 'f' }, artifact }
  return { accepted: new Map([['AuthorizationPolicy/shop/p', accepted]]), seen: new Map() }
}

t.test('modules larger than an object, damage, and what is too large', async (t) => {
  const store = makeStore()
  await store.start()
  // What can't be compressed.
  const [small, large] = [randomBytes(1000), randomBytes(3_000_000)]
  const save = (bytes: Uint8Array, by = store) =>
    by.save(stateOf(bytes), new Map([[digestOf(bytes), bytes]]))
  t.equal(await save(small), true)
  t.equal(await save(large), true)
  t.ok((await revisions('elsewhere')).length > 7, 'it is cut')
  const read = await makeStore().load()
  t.same(read.faults, [])
  t.ok(Buffer.from(read.wasm.get(digestOf(large)) ?? []).equals(large))
  await t.rejects(save(small, makeStore()), { code: 'ERR_STATE_WRITE', message: /was faster/ })
  t.equal(
    await save(
      small,
      makeStore(() => false),
    ),
    false,
    'a follower stores nothing',
  )
  await t.rejects(save(randomBytes(45_000_000)), {
    code: 'ERR_STATE_WRITE',
    message: /too large: \d+ objects/,
  })
  const names = await revisions('elsewhere')
  const remove = (name: string) =>
    cluster.remove({ kind: 'ControllerRevision', metadata: { namespace: 'elsewhere', name } })
  const head = heads(names).sort().at(-1) ?? ''
  const { data } = (await cluster.get({
    kind: 'ControllerRevision',
    metadata: { namespace: 'elsewhere', name: head },
  })) as { data: { wasm: Record<string, string[]> } }
  await remove(`postern-chunk-${data.wasm[digestOf(large)]?.[1]}`)
  const damaged = await makeStore().load()
  t.match(damaged.faults, [/generation 2: its module .* is missing or damaged/])
  t.ok(damaged.wasm.has(digestOf(small)), 'the one before is used')
  const mending = makeStore()
  await mending.start()
  await mending.load()
  t.equal(await save(large, mending), true)
  t.same((await makeStore().load()).faults, [], 'the next save writes what was lost')
  t.same(heads(await revisions('elsewhere')).length, 2)
})
