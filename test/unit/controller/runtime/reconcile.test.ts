/** The loop with the world in memory: what is stored, what is published, in which order, and what a failure leaves. */
import t from 'tap'
import { sha256Hex } from '../../../../common/bundle.ts'
import { MeshError } from '../../../../common/errors.ts'
import type { AcceptedState } from '../../../../controller/core/accept/objects.ts'
import type { CompileResult, ManifestFile } from '../../../../controller/runtime/ports.ts'
import type { Publication } from '../../../../controller/runtime/publication.ts'
import { Reconciler } from '../../../../controller/runtime/reconcile.ts'
import { makeCa } from '../../../kit/identity.ts'

const API = 'apiVersion: postern.dev/v1alpha1\n'
const MESH = `${API}kind: Mesh\nmetadata: { name: mesh }\nspec: { trustDomain: shop.example }
---
${API}kind: CertificateAuthority\nmetadata: { name: postern }\nspec: { selfSigned: {} }
---
${API}kind: WorkloadEntry\nmetadata: { name: web, namespace: shop }
spec: { serviceAccount: web, inbound: [{ name: http, port: 8080, appPort: 8081 }] }
`
const POLICY = (spec: string, name = 'p') =>
  `${API}kind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`
const REGO = (text: string) => POLICY(`{ rego: { module: ${JSON.stringify(text)} } }`)
const root = (await makeCa()).root.der

interface Stored {
  faults?: readonly string[]
  state: AcceptedState | undefined
  wasm: ReadonlyMap<string, Uint8Array>
}

/** `disk` outlives a controller. */
function makeWorld(disk: Stored = { state: undefined, wasm: new Map() }) {
  const events: string[] = []
  const published: Publication[] = []
  const logged: string[] = []
  let files: readonly ManifestFile[] | Error = []
  let changed = () => {}
  let failSave = false
  let compile = async (text: string): Promise<CompileResult> => {
    const wasm = new TextEncoder().encode(text)
    return { ok: true, wasm, wasmDigest: sha256Hex(wasm), readsBody: false, rules: [] }
  }
  let uid = 0
  const note = (fields: object, message: string) => {
    logged.push(`${message} ${(fields as { code?: string }).code ?? ''}`.trim())
  }
  const reconciler = new Reconciler({
    manifests: {
      read: async () => {
        if (files instanceof Error) throw files
        return files
      },
      watch: async (onChange) => {
        changed = onChange
        return async () => {}
      },
    },
    compiler: { compile: (unit) => compile(unit.modules[0]?.text ?? '') },
    store: {
      load: async () => ({ faults: [], ...disk }),
      save: async (state, wasm) => {
        if (failSave) throw new MeshError('ERR_STATE_WRITE', 'the disk is full')
        events.push('save')
        disk.state = state
        disk.wasm = wasm
        return true
      },
    },
    authority: {
      create: async () => events.push('create keys') > 0,
      ensure: async () => [root],
    },
    publish: (publication) => {
      events.push('publish')
      published.push(publication)
    },
    clock: { now: () => 1_795_500_000_000, monotonic: () => performance.now() },
    newUid: () => `uid-${++uid}`,
    log: { debug() {}, info: note, warn: note, error: note },
  })
  t.teardown(() => reconciler.stop())
  /** Resolves when `condition` holds after a pass. */
  const until = (condition: () => boolean) =>
    new Promise<void>((resolve) => {
      const off = reconciler.onChange(() => {
        if (!condition()) return
        off()
        resolve()
      })
      if (condition()) resolve()
    })
  return {
    reconciler,
    events,
    published,
    logged,
    disk,
    until,
    write(next: Record<string, string> | Error) {
      files =
        next instanceof Error ? next : Object.entries(next).map(([path, text]) => ({ path, text }))
      changed()
    },
    failSaves: (fail: boolean) => {
      failSave = fail
    },
    compileBy: (next: typeof compile) => {
      compile = next
    },
    policies: () =>
      published
        .at(-1)
        ?.model.workloads.get('shop/web')
        ?.policySet.policies.map((p) => p.name),
  }
}

t.test('stores before it publishes, and neither when nothing changed', async (t) => {
  const world = makeWorld()
  world.write({ 'm.yaml': MESH })
  await world.reconciler.start()
  await world.until(() => world.published.length === 1)
  t.same(world.events, ['create keys', 'save', 'publish'])
  const passes = world.reconciler.figures().passes
  world.write({ 'm.yaml': `# a comment\n${MESH}` })
  await world.until(() => world.reconciler.figures().passes > passes)
  world.write({ 'm.yaml': MESH, 'p.yaml': POLICY('{ rules: [{}] }') })
  await world.until(() => world.published.length === 2)
  t.equal(world.events.filter((e) => e === 'publish').length, 2)
  t.same(world.policies(), ['p'])
})

t.test('a restart publishes what was stored at once, the same bytes', async (t) => {
  const first = makeWorld()
  first.write({ 'm.yaml': MESH, 'r.yaml': REGO('package a') })
  await first.reconciler.start()
  await first.until(() => first.policies()?.[0] === 'p')
  await first.reconciler.stop()

  const second = makeWorld(first.disk)
  second.compileBy(() => {
    throw new Error('nothing is compiled again')
  })
  second.write(new Error('the folder is not mounted'))
  await second.reconciler.start()
  t.equal(second.published[0]?.generation, first.published.at(-1)?.generation)
  await second.until(() => second.reconciler.view()?.problems.length === 1)
  t.equal(second.published.length, 1)
  t.match(second.logged.at(-1), 'problem in the manifests ERR_MANIFEST_NOT_READABLE')
  second.write({ 'm.yaml': MESH, 'r.yaml': REGO('package a') })
  await second.until(() => second.reconciler.view()?.problems.length === 0)
  t.equal(second.published.length, 1)
  t.match(second.logged.at(-1), 'problem in the manifests ended ERR_MANIFEST_NOT_READABLE')
  t.notOk(second.events.includes('create keys'), 'a stored mesh has its keys already')
})

t.test('keys are not made anew where generations are damaged', async (t) => {
  const world = makeWorld({ faults: ['its digest is wrong'], state: undefined, wasm: new Map() })
  world.write({ 'm.yaml': MESH })
  await world.reconciler.start()
  await world.until(() => world.published.length === 1)
  t.notOk(world.events.includes('create keys'))
})

t.test(
  'the generation before a damaged one publishes nothing that was revoked since',
  async (t) => {
    const first = makeWorld()
    first.write({ 'm.yaml': MESH, 'p.yaml': POLICY('{ rules: [{}] }') })
    await first.reconciler.start()
    await first.until(() => first.published.length === 1)
    await first.reconciler.stop()

    const second = makeWorld({ ...first.disk, faults: ['generation 2: its digest is wrong'] })
    const uid = first.published[0]?.model.workloads.get('shop/web')?.uid
    second.write({ 'm.yaml': MESH, 'p.yaml': 'kind: [' })
    await second.reconciler.start()
    await second.until(() => second.reconciler.view()?.problems.length === 1)
    t.same(second.events, [], 'nothing is published or stored while the file may have said less')
    t.match(second.logged[0], 'ERR_STATE_CORRUPT')
    second.write({ 'm.yaml': MESH })
    await second.until(() => second.published.length > 0)
    t.same(second.policies(), [], 'what was revoked is not in what is published first')
    t.equal(
      second.published[0]?.model.workloads.get('shop/web')?.uid,
      uid,
      'sidecars stay who they are',
    )
  },
)

t.test('what can’t be stored is not published, and is tried again', async (t) => {
  const world = makeWorld()
  world.write({ 'm.yaml': MESH })
  await world.reconciler.start()
  await world.until(() => world.published.length === 1)
  world.failSaves(true)
  world.write({ 'm.yaml': MESH, 'p.yaml': POLICY('{ rules: [{}] }') })
  const failed = () => world.reconciler.figures().failures > 0
  while (!failed()) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(world.published.length, 1)
  world.failSaves(false)
  await world.until(() => world.published.length === 2)
  t.ok(world.logged.some((l) => l.endsWith('ERR_STATE_WRITE')))
})

t.test('an edit waits for its Rego and comes into force as one', async (t) => {
  const world = makeWorld()
  world.write({ 'm.yaml': MESH })
  await world.reconciler.start()
  await world.until(() => world.published.length === 1)
  const gate = Promise.withResolvers<void>()
  world.compileBy(async (text) => {
    await gate.promise
    const wasm = new TextEncoder().encode(text)
    return { ok: true, wasm, wasmDigest: sha256Hex(wasm), readsBody: false, rules: [] }
  })
  world.write({
    'm.yaml': MESH,
    'a.yaml': POLICY('{ rules: [{}] }', 'allow'),
    'r.yaml': REGO('package b'),
  })
  await world.until(() => world.reconciler.view()?.settlement.pending.size === 1)
  t.equal(world.published.length, 1, 'the ALLOW alone is not published')
  gate.resolve()
  await world.until(() => world.published.length === 2)
  t.same(world.policies(), ['allow', 'p'])
})

t.test('without a Mesh nothing is published', async (t) => {
  const world = makeWorld()
  world.write({ 'p.yaml': POLICY('{ rules: [{}] }') })
  await world.reconciler.start()
  await world.until(() => world.reconciler.view()?.problems.length === 1)
  t.equal(world.published.length, 0)
  t.match(world.reconciler.view()?.problems, [{ code: 'ERR_MESH_MISSING' }])
})

t.test('a problem is said once when it comes and once when it goes', async (t) => {
  const world = makeWorld()
  const bad = { 'm.yaml': MESH, 'p.yaml': POLICY('{ rules: 7 }') }
  world.write(bad)
  await world.reconciler.start()
  await world.until(() => world.reconciler.view()?.problems.length === 1)
  for (let i = 0; i < 3; i++) {
    const { passes } = world.reconciler.figures()
    world.write(bad)
    await world.until(() => world.reconciler.figures().passes > passes)
  }
  world.write({ 'm.yaml': MESH })
  await world.until(() => world.reconciler.view()?.problems.length === 0)
  t.same(
    world.logged.filter((l) => l.startsWith('problem')),
    ['problem in the manifests ERR_FIELD_TYPE', 'problem in the manifests ended ERR_FIELD_TYPE'],
  )
})
