/** The `ca` folder: made whole or not at all, private, and never guessed at. */
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Secret } from '../../../../../common/secret.ts'
import { createIdentityStore } from '../../../../../controller/adapters/state/identity-store.ts'
import { createIdentityState } from '../../../../../sidecar/adapters/fs/identity-state.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

const files = new Map([
  ['a.pem', new Secret('A')],
  ['b.json', new Secret('B')],
])

t.test('is made whole, read and replaced', async (t) => {
  const folder = join(tempDir(t), 'state', 'ca')
  const store = createIdentityStore(folder)
  t.equal(await store.exists(), false)
  await store.create(files)
  t.equal(await store.exists(), true)
  t.equal((await store.read('a.pem')).reveal(), 'A')
  await store.write('b.json', new Secret('B2'))
  t.equal((await store.read('b.json')).reveal(), 'B2')
  t.same(readdirSync(folder).sort(), ['a.pem', 'b.json'])
  for (const name of readdirSync(folder))
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name)
  t.equal(statSync(folder).mode & 0o777, 0o700)
  t.same(readdirSync(join(folder, '..')), ['ca'], 'nothing is left beside it')
})

t.test('a half-made folder of a crash is no CA', async (t) => {
  const state = tempDir(t)
  mkdirSync(join(state, 'ca.new-abc'), { mode: 0o700 })
  writeFileSync(join(state, 'ca.new-abc', 'a.pem'), 'half')
  const store = createIdentityStore(join(state, 'ca'))
  t.equal(await store.exists(), false)
  await store.create(files)
  t.same(readdirSync(state), ['ca'])
})

t.test('an existing folder with something in it is never overwritten', async (t) => {
  const state = tempDir(t)
  mkdirSync(join(state, 'ca'), { mode: 0o700 })
  writeFileSync(join(state, 'ca', 'a.pem'), 'old', { mode: 0o600 })
  const store = createIdentityStore(join(state, 'ca'))
  await t.rejects(store.create(files), { code: 'ERR_STATE_WRITE' })
  t.equal((await store.read('a.pem')).reveal(), 'old')
  t.same(readdirSync(state), ['ca'])
})

t.test('what is missing, open, a link or no file is refused', async (t) => {
  const folder = join(tempDir(t), 'ca')
  const store = createIdentityStore(folder)
  await store.create(files)
  await t.rejects(store.read('c.pem'), { code: 'ERR_STATE_CORRUPT', message: /ENOENT/ })
  symlinkSync('a.pem', join(folder, 'link.pem'))
  await t.rejects(store.read('link.pem'), { code: 'ERR_STATE_CORRUPT' })
  mkdirSync(join(folder, 'dir.pem'))
  await t.rejects(store.read('dir.pem'), { code: 'ERR_STATE_CORRUPT' })
  chmodSync(join(folder, 'a.pem'), 0o640)
  await t.rejects(store.read('a.pem'), { code: 'ERR_STATE_CORRUPT', message: /0600/ })
  chmodSync(folder, 0o755)
  await t.rejects(store.exists(), { code: 'ERR_STATE_CORRUPT', message: /0700/ })
  await t.rejects(createIdentityStore(join(folder, 'a.pem')).exists(), {
    code: 'ERR_STATE_CORRUPT',
  })
})

t.test('a write that fails says so', async (t) => {
  const store = createIdentityStore(join(tempDir(t), 'nowhere'))
  await t.rejects(store.write('a.pem', new Secret('A')), { code: 'ERR_STATE_WRITE' })
})

t.test('the file of the sidecar keeps the same rules', async (t) => {
  const folder = join(tempDir(t), 'sidecar')
  const state = createIdentityState(folder)
  t.equal(await state.load(), undefined)
  await state.store(new Secret('one'))
  await state.store(new Secret('two'))
  t.equal((await state.load())?.reveal(), 'two')
  t.same(readdirSync(folder), ['identity.json'])
  chmodSync(join(folder, 'identity.json'), 0o644)
  await t.rejects(state.load(), { code: 'ERR_STATE_CORRUPT', message: /0600/ })
  chmodSync(join(folder, 'identity.json'), 0o600)
  chmodSync(folder, 0o755)
  await t.rejects(state.load(), { code: 'ERR_STATE_CORRUPT', message: /0700/ })
  await t.rejects(state.store(new Secret('three')), { code: 'ERR_STATE_CORRUPT' })
})
