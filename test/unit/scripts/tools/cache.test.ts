/**
 * The tool cache: made once, checked each time, repaired when it differs, never half there.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type CacheEntry, cacheRoot, ensure } from '../../../../scripts/tools/cache.ts'
import { tempDir } from '../../../kit/tempdir.ts'

const HELLO = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824' // sha256 of `hello`
const silent = () => {}

/** An entry whose build writes `text`, and how often it was built. */
function makeEntry(text = 'hello', more: Partial<CacheEntry> = {}) {
  const counted = { builds: 0 }
  const entry: CacheEntry = {
    key: 'thing-1.0',
    file: 'thing',
    build: async (workFolder) => {
      counted.builds += 1
      const path = join(workFolder, 'out')
      writeFileSync(path, text)
      return path
    },
    ...more,
  }
  return { entry, counted }
}

t.test('is made once and found afterwards', async (t) => {
  const root = tempDir(t)
  const { entry, counted } = makeEntry()
  const first = await ensure(root, entry, silent)
  t.same(first, { path: join(root, 'thing-1.0/thing'), sha256: HELLO, made: true })
  t.same(await ensure(root, entry, silent), { ...first, made: false })
  t.equal(counted.builds, 1)
  t.notOk(existsSync(join(root, 'thing-1.0.partial')), 'the work folder is gone')
  t.notOk(existsSync(join(root, 'thing-1.0.lock')), 'the lock is gone')
})

t.test('is made anew when it was changed, or its record is gone', async (t) => {
  const root = tempDir(t)
  const { entry, counted } = makeEntry()
  const { path } = await ensure(root, entry, silent)
  writeFileSync(path, 'evil')
  t.equal((await ensure(root, entry, silent)).made, true)
  t.equal(readFileSync(path, 'utf8'), 'hello')
  rmSync(join(root, 'thing-1.0/.thing.sha256'))
  t.equal((await ensure(root, entry, silent)).made, true)
  t.equal(counted.builds, 3)
})

t.test('what differs from its pin is refused and not left behind', async (t) => {
  const root = tempDir(t)
  const { entry } = makeEntry('evil', { sha256: HELLO })
  await t.rejects(ensure(root, entry, silent), {
    message: /sha256 is [0-9a-f]{64}, pinned is 2cf24/,
  })
  t.notOk(existsSync(join(root, 'thing-1.0')))
})

t.test('a record that differs from the pin is not believed', async (t) => {
  const root = tempDir(t)
  await ensure(root, makeEntry('evil').entry, silent)
  const { entry, counted } = makeEntry('hello', { sha256: HELLO })
  t.equal((await ensure(root, entry, silent)).sha256, HELLO)
  t.equal(counted.builds, 1)
})

t.test('an interrupted build leaves its work folder to the next and no entry', async (t) => {
  const root = tempDir(t)
  const broken = makeEntry('hello', {
    build: async (workFolder) => {
      writeFileSync(join(workFolder, 'download'), 'half')
      throw new Error('the line went dead')
    },
  })
  await t.rejects(ensure(root, broken.entry, silent), { message: 'the line went dead' })
  t.notOk(existsSync(join(root, 'thing-1.0')))
  const { entry } = makeEntry('hello', {
    build: async (workFolder) => {
      t.equal(readFileSync(join(workFolder, 'download'), 'utf8'), 'half')
      return join(workFolder, 'download')
    },
  })
  t.equal((await ensure(root, entry, silent)).made, true)
})

t.test('a tree is placed as a whole', async (t) => {
  const root = tempDir(t)
  const { entry } = makeEntry('', {
    file: 'bin/thing',
    tree: true,
    build: async (workFolder) => {
      mkdirSync(join(workFolder, 'out/bin'), { recursive: true })
      writeFileSync(join(workFolder, 'out/bin/thing'), 'hello')
      writeFileSync(join(workFolder, 'out/beside'), '')
      return join(workFolder, 'out')
    },
  })
  t.match(await ensure(root, entry, silent), { sha256: HELLO, made: true })
  t.ok(existsSync(join(root, 'thing-1.0/beside')))
  t.equal((await ensure(root, entry, silent)).made, false)
})

t.test('two that want the same wait for each other; one builds', async (t) => {
  const root = tempDir(t)
  const { entry, counted } = makeEntry()
  const both = await Promise.all([ensure(root, entry, silent), ensure(root, entry, silent)])
  t.same(
    both.map(({ sha256 }) => sha256),
    [HELLO, HELLO],
  )
  t.equal(counted.builds, 1)
})

t.test('takes over the lock of a process that is gone', async (t) => {
  const root = tempDir(t)
  writeFileSync(join(root, 'thing-1.0.lock'), '4194305') // above the kernel's highest pid
  t.equal((await ensure(root, makeEntry().entry, silent)).made, true)
})

t.test('lies in XDG_CACHE_HOME when that is absolute', async (t) => {
  t.equal(cacheRoot({ XDG_CACHE_HOME: '/x', HOME: '/home/me' }), '/x/postern')
  t.equal(cacheRoot({ XDG_CACHE_HOME: 'x', HOME: '/home/me' }), '/home/me/.cache/postern')
  t.equal(cacheRoot({ HOME: '/home/me' }), '/home/me/.cache/postern')
})
