import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FileGenerationStore } from '../../../../../controller/adapters/state/generation-store.ts'
import type { AcceptedState } from '../../../../../controller/core/accept/objects.ts'
import { makePolicy } from '../../../../kit/objects.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const digest = (text: string) => createHash('sha256').update(text).digest('hex')

/** A state whose one policy has this module. */
function stateWith(module: string, name = 'p'): AcceptedState {
  const artifact = {
    unitDigest: 'u',
    entrypoint: 'e',
    wasmDigest: digest(module),
    readsBody: false,
    data: { b: 1, a: 2 },
  }
  const object = makePolicy(name, {})
  return {
    accepted: new Map([
      [`AuthorizationPolicy/shop/${name}`, { object, source: { file: 'f' }, artifact }],
    ]),
    seen: new Map([
      ['k', { uid: 'u', generation: 1, specHash: 'h', creationTimestamp: '2026-11-24T00:00:00Z' }],
    ]),
  }
}
const wasmOf = (...modules: string[]) => new Map(modules.map((m) => [digest(m), bytes(m)]))

async function saved(t: Test, ...modules: string[]) {
  const dir = tempDir(t)
  const store = new FileGenerationStore(dir)
  await store.load()
  for (const m of modules) await store.save(stateWith(m), wasmOf(m))
  return { dir, store }
}
const load = (dir: string) => new FileGenerationStore(dir).load()

t.test('nothing stored is no fault', async (t) => {
  t.same(await load(tempDir(t)), { state: undefined, wasm: new Map(), faults: [] })
})

t.test('what is saved comes back, after a restart too', async (t) => {
  const { dir } = await saved(t, 'one')
  const loaded = await load(dir)
  t.same(loaded.state, stateWith('one'))
  t.same(loaded.wasm, wasmOf('one'))
  t.same(loaded.faults, [])
  const file = join(dir, 'generations/000000000001.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.equal((await stat(join(dir, 'generations'))).mode & 0o777, 0o700)
})

t.test('two generations are kept, with the modules that they need', async (t) => {
  const { dir } = await saved(t, 'one', 'two', 'three')
  t.same(await readdir(join(dir, 'generations')), ['000000000002.json', '000000000003.json'])
  t.same(
    (await readdir(join(dir, 'wasm'))).sort(),
    [`${digest('two')}.wasm`, `${digest('three')}.wasm`].sort(),
  )
})

t.test('damage is named, and the one before is used', async (t) => {
  const damages: Record<string, (dir: string) => Promise<void>> = {
    'a changed byte': async (dir) => {
      const file = join(dir, 'generations/000000000002.json')
      await writeFile(file, (await readFile(file, 'utf8')).replace('"sequence":2', '"sequence":9'))
    },
    'half a file': async (dir) => {
      const file = join(dir, 'generations/000000000002.json')
      await writeFile(file, (await readFile(file, 'utf8')).slice(0, 100))
    },
    'an empty file': (dir) => writeFile(join(dir, 'generations/000000000002.json'), ''),
    'a lost module': (dir) => rm(join(dir, `wasm/${digest('two')}.wasm`)),
    'a changed module': (dir) => writeFile(join(dir, `wasm/${digest('two')}.wasm`), 'evil'),
    'another format': async (dir) => {
      const json = '{"format":2}'
      await writeFile(join(dir, 'generations/000000000002.json'), `${digest(json)}\n${json}`)
    },
  }
  for (const [name, damage] of Object.entries(damages)) {
    const { dir } = await saved(t, 'one', 'two')
    await damage(dir)
    const loaded = await load(dir)
    t.same(loaded.state, stateWith('one'), name)
    t.match(loaded.faults, [/^generation 2: its /], name)
    const next = new FileGenerationStore(dir)
    await next.load()
    await next.save(stateWith('three'), wasmOf('three'))
    t.same((await load(dir)).state, stateWith('three'), `${name}: the next one is good again`)
  }
})

t.test('a damaged module is written again', async (t) => {
  const { dir, store } = await saved(t, 'one')
  await writeFile(join(dir, `wasm/${digest('one')}.wasm`), 'evil')
  await store.save(stateWith('one', 'q'), wasmOf('one'))
  t.same((await load(dir)).wasm, wasmOf('one'))
})

t.test('a failed save is an error, and what was there stays', async (t) => {
  const { dir, store } = await saved(t, 'one')
  await t.rejects(store.save(stateWith('two'), new Map()), { code: 'ERR_STATE_WRITE' })
  await rm(join(dir, 'wasm'), { recursive: true })
  await writeFile(join(dir, 'wasm'), '')
  await t.rejects(store.save(stateWith('two'), wasmOf('two')), { code: 'ERR_STATE_WRITE' })
  t.same(await readdir(join(dir, 'generations')), ['000000000001.json'])
})
