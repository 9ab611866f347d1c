/**
 * The authority's keys in a Secret, on a real API server, with two controllers that start at once: one authority. The
 * Secret is lost, damaged, exchanged and put back while they run and while they don't; roots are edited and deleted; one
 * root takes the place of another. With exactly the permissions of docs/reference/rbac.md.
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import t, { type Test } from 'tap'
import { nodeKeys } from '../../controller/adapters/crypto/keys.ts'
import { createAuthority } from '../../controller/runtime/identity/authority.ts'
import { startApiServer } from '../kit/apiserver.ts'
import { type ControllerProcess, startController } from '../kit/controller.ts'
import { MemoryStore } from '../kit/identity-controller.ts'
import { KubeCluster, pathOf } from '../kit/kube-cluster.ts'
import { podJson } from '../kit/kube-objects.ts'
import { attestPod } from '../kit/pod-attestation.ts'
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
const DEADLINE = { signal: AbortSignal.timeout(70_000) }
const SECRET = { kind: 'Secret', metadata: { namespace: 'postern-system', name: 'postern-ca' } }
const ROOTS = (namespace: string) => ({
  kind: 'ConfigMap',
  metadata: { namespace, name: 'postern-ca-roots' },
})
const SPIFFE_ID = 'spiffe://shop.example/ns/shop/sa/web'

const server = await startApiServer(t, ['--authorization-mode=RBAC'])
const cluster = new KubeCluster(server)
await cluster.prepare({ shop: ['web'], other: [], 'postern-system': [] })
const label = (name: string, inject: string) =>
  cluster.apply({ kind: 'Namespace', metadata: { name, labels: { 'postern.dev/inject': inject } } })
await label('shop', 'enabled')
const web = {
  name: 'web',
  uid: await cluster.run(
    podJson('shop/web', {
      ip: '127.0.0.1',
      spec: {
        containers: [{ name: 'app', image: 'app' }],
        initContainers: [{ name: 'postern-sidecar', image: 'sidecar', restartPolicy: 'Always' }],
      },
    }),
  ),
}
const kubeconfig = server.kubeconfig(await cluster.controllerToken())
const start = (t: Pick<Test, 'teardown' | 'fail'>) =>
  startController(t, { kubeconfig, state: tempDir(t) })
const pair = [start(t), start(t)]
await Promise.all(pair.map(({ process }) => process.waitForLine(/all of the cluster is known/)))
await cluster.applyYaml(MESH)
const ports = await Promise.all(pair.map((c) => c.meshPort()))
const good = await secretData()
const first = await cluster.roots('shop')

async function secretData(): Promise<Record<string, string>> {
  return ((await cluster.get(SECRET)) as { data: Record<string, string> }).data
}

/** As anybody may who may write Secrets; `null` takes a key away. */
async function patchSecret(data: Record<string, string | null>): Promise<void> {
  const contentType = 'application/merge-patch+json'
  const answer = await server.request('PATCH', pathOf(SECRET), {
    text: JSON.stringify({ data }),
    contentType,
  })
  t.equal(answer.status, 200)
}

const restore = (data = good) =>
  cluster.apply({ ...SECRET, apiVersion: 'v1', type: 'Opaque', data })

/** Whom a pod gets its certificate from, by each replica. */
async function issuers(roots: readonly Uint8Array[], at = ports): Promise<readonly string[]> {
  const token = await cluster.token('shop/web', 'postern-ca', web)
  const svids = await Promise.all(
    at.map((port) => attestPod(`127.0.0.1:${port}`, { roots, uri: SPIFFE_ID, token })),
  )
  return svids.map(({ certificateChain: [leaf = new Uint8Array()] }) => {
    const signer = roots.find((root) =>
      new X509Certificate(leaf).verify(new X509Certificate(root).publicKey),
    )
    return signer === undefined ? 'nobody' : new X509Certificate(signer).fingerprint256
  })
}

const fingerprint = (der: Uint8Array | undefined) =>
  new X509Certificate(der ?? new Uint8Array()).fingerprint256

async function accepted() {
  const object = { kind: 'CertificateAuthority', metadata: { name: 'postern' } }
  const { status } = (await cluster.get(object)) as {
    status?: { conditions: readonly { type: string; status: string; reason: string }[] }
  }
  return status?.conditions.find(({ type }) => type === 'Accepted')
}

function isAccepted(status: string, reason: string) {
  const what = `CertificateAuthority: Accepted ${status}, ${reason}`
  const find = async () => {
    const condition = await accepted()
    return condition?.status === status && condition.reason === reason ? condition : undefined
  }
  return waitFor(find, { ...DEADLINE, what })
}

/** Waits for it at both, since each sees the Secret by itself. */
async function told(code: string | undefined, of: readonly ControllerProcess[] = pair) {
  const isTold = async (controller: ControllerProcess) => {
    const codes = (await controller.problems()).map((p) => p.code as string)
    return code === undefined ? codes.length === 0 : codes.includes(code)
  }
  for (const controller of of)
    await waitFor(() => isTold(controller), { ...DEADLINE, what: `problem ${code}` })
}

/** Another authority of the same trust domain, as files of a Secret. */
async function foreign(): Promise<Record<string, string>> {
  const store = new MemoryStore()
  const clock = { now: () => Date.now(), monotonic: () => performance.now() }
  const authority = { trustDomain: 'shop.example', store, keys: nodeKeys, clock, randomBytes }
  await createAuthority({ ...authority, rootLifetimeSeconds: 315_360_000 })
  const files = [...(store.files ?? [])]
  return Object.fromEntries(files.map(([k, text]) => [k, Buffer.from(text).toString('base64')]))
}

t.test('two that start at once make one authority', async (t) => {
  t.equal(first.length, 1)
  const expected = fingerprint(first[0])
  t.same(await issuers(first), [expected, expected])
  t.same(await cluster.roots('postern-system'), first)
  t.equal(await cluster.get(ROOTS('other')), undefined, 'not where nobody is injected')
  const log = pair.flatMap(({ process }) => process.lines).join('\n')
  t.notMatch(log, /BEGIN PRIVATE|LS0tLS1CRUdJTi/, 'no key is ever logged')
})

const troubles: readonly (readonly [string, string, () => Promise<unknown>])[] = [
  ['the Secret is deleted', 'ERR_CA_LOST', () => cluster.remove(SECRET)],
  [
    'garbage',
    'ERR_CA_DAMAGED',
    () => patchSecret({ 'root.pem': Buffer.from('x').toString('base64') }),
  ],
  ['a key is taken out', 'ERR_CA_DAMAGED', () => patchSecret({ 'attestation.pem': null })],
  [
    'a key that is not of its certificate',
    'ERR_CA_DAMAGED',
    async () => {
      const [own, other] = [good, await foreign()].map((files) =>
        Buffer.from(files['root.pem'] ?? '', 'base64').toString(),
      )
      const [certificate = ''] = own?.split('-----BEGIN PRIVATE') ?? []
      const [, key = ''] = other?.split('-----BEGIN PRIVATE') ?? []
      const mixed = `${certificate}-----BEGIN PRIVATE${key}`
      await patchSecret({ 'root.pem': Buffer.from(mixed).toString('base64') })
    },
  ],
  ['another authority', 'ERR_CA_DAMAGED', async () => patchSecret(await foreign())],
  [
    'a registry that is none',
    'ERR_CA_DAMAGED',
    () => patchSecret({ 'identities.json': Buffer.from('{}').toString('base64') }),
  ],
]

for (const [name, code, harm] of troubles)
  t.test(`while they run: ${name}`, async (t) => {
    await harm()
    await told(code)
    await isAccepted('False', code)
    const expected = fingerprint(first[0])
    t.same(await issuers(first), [expected, expected], 'the last good signs')
    t.same(await cluster.roots('shop'), first)
    await restore()
    await told(undefined)
    await isAccepted('True', 'Accepted')
  })

t.test('an Event tells of the loss', async (t) => {
  const events = await cluster.list('Event', 'default')
  t.match(events.map(({ reason, note }) => `${reason} ${note}`).sort(), [
    /ERR_CA_DAMAGED.*Secret postern-system\/postern-ca/,
    /ERR_CA/,
    /ERR_CA/,
    /ERR_CA/,
  ])
})

t.test('lost while a third starts: it makes none, and waits for the old one', async (t) => {
  await cluster.remove(SECRET)
  await told('ERR_CA_LOST')
  const third = start(t)
  await told('ERR_CA_LOST', [third])
  t.equal(third.logged('sidecars may connect').length, 0)
  t.equal(await cluster.get(SECRET), undefined, 'none was made')
  await restore(await foreign())
  await told('ERR_CA_DAMAGED', [...pair, third])
  t.equal(third.logged('sidecars may connect').length, 0, 'no other authority either')
  await restore()
  await told(undefined, [...pair, third])
  t.same(await issuers(first, [await third.meshPort()]), [fingerprint(first[0])])
  await third.process.stop()
})

t.test('roots are mended: edited, deleted, frozen; and stay where the label goes', async (t) => {
  const isMended = async (namespace: string) => {
    const { data, immutable } = ((await cluster.get(ROOTS(namespace))) ?? {}) as {
      data?: Record<string, string>
      immutable?: boolean
    }
    return immutable !== true && Object.keys(data ?? {}).join() === 'ca.crt' && data?.['ca.crt']
  }
  const pem = await isMended('shop')
  const mended = (what: string, namespace = 'shop') =>
    waitFor(async () => (await isMended(namespace)) === pem, { ...DEADLINE, what })
  await cluster.apply({ ...ROOTS('shop'), data: { 'ca.crt': 'mine', more: 'x' } })
  await mended('an edit undone')
  await cluster.remove(ROOTS('shop'))
  await mended('made again')
  await cluster.apply({ ...ROOTS('shop'), data: { 'ca.crt': 'mine' }, immutable: true })
  await mended('one that was frozen made anew')
  await label('other', 'enabled')
  await mended('a new namespace', 'other')
  await label('other', 'disabled')
  await cluster.apply({ ...ROOTS('other'), data: { 'ca.crt': 'mine' } })
  await mended('still kept', 'other')
  await cluster.remove(ROOTS('other'))
  await cluster.remove(ROOTS('shop'))
  await mended('made again')
  t.equal(await cluster.get(ROOTS('other')), undefined, 'not made again without the label')
})

t.test('another root, without an outage', async (t) => {
  const next = await foreign()
  const pemOf = (data: Record<string, string>) =>
    Buffer.from(data['root.pem'] ?? '', 'base64')
      .toString()
      .split('-----BEGIN PRIVATE')[0]
  const [oldRoot, newRoot] = [pemOf(good), pemOf(next)]
  const base64 = (text: string | undefined) => Buffer.from(text ?? '').toString('base64')
  const isGivenOut = async (count: number, newest: string | undefined) => {
    const what = `${count} roots`
    const roots = await waitFor(
      async () => {
        const found = await cluster.roots('shop')
        const isNewest = fingerprint(found[0]) === new X509Certificate(newest ?? '').fingerprint256
        return found.length === count && isNewest ? found : undefined
      },
      { ...DEADLINE, what },
    )
    return roots
  }
  await patchSecret({ 'other-roots.pem': base64(newRoot) })
  const both = await isGivenOut(2, oldRoot)
  const old = fingerprint(first[0])
  t.same(await issuers(both), [old, old], 'the old root signs, both are trusted')
  await patchSecret({ 'root.pem': next['root.pem'] ?? '', 'other-roots.pem': null })
  await told('ERR_CA_DAMAGED')
  t.same(await issuers(both), [old, old], 'what the old one signed would be good for nothing')
  await patchSecret({ 'other-roots.pem': base64(oldRoot) })
  await told(undefined)
  await isGivenOut(2, newRoot)
  const now = new X509Certificate(newRoot ?? '').fingerprint256
  const isSignedByNew = async () => String(await issuers(both)) === String([now, now])
  await waitFor(isSignedByNew, { ...DEADLINE, what: 'the new root signs, at both' })
  await patchSecret({ 'other-roots.pem': null })
  t.same(await issuers(await isGivenOut(1, newRoot)), [now, now], 'the old one is gone')
})
