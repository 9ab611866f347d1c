import { chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { ManifestFolder } from '../../../../../controller/adapters/files/folder.ts'

const { signal } = new AbortController()
const paths = async (folder: ManifestFolder) => (await folder.read(signal)).map((f) => f.path)

/** Resolves at the next call of `onChange`, and fails the test after `ms`. */
function nextChange(folder: ManifestFolder) {
  let count = 0
  let wake: (() => void) | undefined
  const started = folder.watch(() => {
    count += 1
    wake?.()
  })
  return {
    started,
    async next(after: number, ms = 5000): Promise<void> {
      const deadline = AbortSignal.timeout(ms)
      while (count <= after) {
        await new Promise<void>((resolve, reject) => {
          wake = resolve
          deadline.addEventListener('abort', () => reject(new Error('no change was seen')))
        })
      }
    },
    count: () => count,
  }
}

t.test('reads manifests below the folder, sorted, without editors’ files', async (t) => {
  const folder = t.testdir({
    'b.yaml': 'b: 1',
    'a.yml': 'a: 1',
    'c.json': '{}',
    'note.txt': 'x',
    '4913': '',
    '.a.yaml.swp': '',
    '.hidden.yaml': '',
    'a.yaml~': '',
    '.#a.yaml': '',
    '#a.yaml#': '',
    sub: { 'd.yaml': 'd: 1', '.git': { 'x.yaml': '' } },
  })
  const source = new ManifestFolder({ folder })
  t.same(await source.read(signal), [
    { path: 'a.yml', text: 'a: 1' },
    { path: 'b.yaml', text: 'b: 1' },
    { path: 'c.json', text: '{}' },
    { path: 'sub/d.yaml', text: 'd: 1' },
  ])
})

t.test('follows a ConfigMap mount and ends at loops', async (t) => {
  const folder = t.testdir({ '..2026_1': { 'a.yaml': 'a: 1' }, '..2026_2': { 'a.yaml': 'a: 2' } })
  await symlink('..2026_1', join(folder, '..data'))
  await symlink('..data/a.yaml', join(folder, 'a.yaml'))
  await symlink('.', join(folder, 'loop'))
  const source = new ManifestFolder({ folder, pollMs: 100_000 })
  t.same(await source.read(signal), [{ path: 'a.yaml', text: 'a: 1' }])

  const changes = nextChange(source)
  const stop = await changes.started
  t.teardown(stop)
  await symlink('..2026_2', join(folder, '..data_tmp'))
  await rename(join(folder, '..data_tmp'), join(folder, '..data'))
  await changes.next(0)
  t.same(await source.read(signal), [{ path: 'a.yaml', text: 'a: 2' }])
})

t.test('what can’t be read is said, never left out', async (t) => {
  const folder = t.testdir({ 'big.yaml': 'x'.repeat(100), 'bin.yaml': Buffer.from([0xff, 0xfe]) })
  await symlink('nowhere', join(folder, 'dangling.yaml'))
  await mkdir(join(folder, 'dir.yaml'))
  const source = new ManifestFolder({ folder, maxFileBytes: 50 })
  t.same(await source.read(signal), [
    { path: 'big.yaml', unreadable: 'more than 50 bytes' },
    { path: 'bin.yaml', unreadable: 'it is not UTF-8 text' },
    { path: 'dangling.yaml', unreadable: 'it does not exist' },
  ])
  if (process.getuid?.() !== 0) {
    await writeFile(join(folder, 'secret.yaml'), 'x')
    await chmod(join(folder, 'secret.yaml'), 0)
    t.match(await source.read(signal), [{}, {}, {}, { unreadable: 'permission denied' }])
  }
  await rm(folder, { recursive: true })
  await t.rejects(source.read(signal), { code: 'ERR_CONFIG', retry: 'backoff' })
})

t.test('sees writes, atomic saves, deletes and new directories', async (t) => {
  const folder = t.testdir({ 'a.yaml': 'a: 1' })
  const source = new ManifestFolder({ folder, pollMs: 100_000 })
  const changes = nextChange(source)
  const stop = await changes.started
  t.teardown(stop)

  await writeFile(join(folder, 'a.yaml'), 'a: 2')
  await changes.next(0)
  await writeFile(join(folder, 'a.yaml.new'), 'a: 3')
  await rename(join(folder, 'a.yaml.new'), join(folder, 'a.yaml'))
  await changes.next(1)
  t.same(await source.read(signal), [{ path: 'a.yaml', text: 'a: 3' }])

  await mkdir(join(folder, 'sub/deep'), { recursive: true })
  await writeFile(join(folder, 'sub/deep/b.yaml'), 'b: 1')
  await changes.next(2)
  t.same(await paths(source), ['a.yaml', 'sub/deep/b.yaml'])

  await rm(join(folder, 'sub'), { recursive: true })
  await changes.next(3)
  await mkdir(join(folder, 'sub'))
  await writeFile(join(folder, 'sub/c.yaml'), 'c: 1')
  await changes.next(4)
  await writeFile(join(folder, 'sub/c.yaml'), 'c: 2')
  await changes.next(5)
  t.same(await source.read(signal), [
    { path: 'a.yaml', text: 'a: 3' },
    { path: 'sub/c.yaml', text: 'c: 2' },
  ])
})

t.test('an editor’s temporary file is no change', async (t) => {
  const folder = t.testdir({ 'a.yaml': 'a: 1' })
  const source = new ManifestFolder({ folder, pollMs: 100_000 })
  const changes = nextChange(source)
  t.teardown(await changes.started)
  await writeFile(join(folder, '.a.yaml.swp'), 'x')
  await writeFile(join(folder, '4913'), 'x')
  await wait(200)
  t.equal(changes.count(), 0)
})

t.test('the poll finds what events missed', async (t) => {
  const folder = t.testdir({ real: {}, outside: { deep: { 'x.yaml': 'x: 1' } } })
  const source = new ManifestFolder({ folder: join(folder, 'gone'), pollMs: 20 })
  const changes = nextChange(source)
  t.teardown(await changes.started)
  await writeFile(join(folder, 'real/a.yaml'), 'a: 1')
  await rename(join(folder, 'real'), join(folder, 'gone'))
  await changes.next(0)
  t.same(await paths(source), ['a.yaml'])
})

t.test('a file that is away for a moment is not deleted', async (t) => {
  const folder = t.testdir({ 'a.yaml': 'a: 1' })
  const source = new ManifestFolder({ folder })
  t.same(await paths(source), ['a.yaml'])
  await rename(join(folder, 'a.yaml'), join(folder, 'a.yaml~'))
  const reading = paths(source)
  await wait(20)
  await writeFile(join(folder, 'a.yaml'), 'a: 2')
  t.same(await reading, ['a.yaml'])
})

t.test('directories that link to each other end the scan, not the controller', async (t) => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const folder = t.testdir(Object.fromEntries(names.map((name) => [name, {}])))
  for (const from of names)
    for (const to of names) if (from !== to) await symlink(`../${to}`, join(folder, from, to))
  const source = new ManifestFolder({ folder, maxEntries: 1000 })
  await t.rejects(paths(source), {
    code: 'ERR_CONFIG',
    message: /too many files, or links in circ/,
  })
})

t.test('a folder with too many bytes is read in part, and says so', async (t) => {
  const text = 'x'.repeat(60)
  const folder = t.testdir({ 'a.yaml': text, 'b.yaml': text, 'c.yaml': 'c', 'd\n.yaml': 'd' })
  const files = await new ManifestFolder({ folder, maxFolderBytes: 100 }).read(
    new AbortController().signal,
  )
  t.same(files, [
    { path: 'a.yaml', text },
    { path: 'b.yaml', unreadable: 'the folder has too many bytes in all' },
    { path: 'c.yaml', text: 'c' },
    { path: 'd\n.yaml', text: 'd' },
  ])
})

t.test('a file that never ends holds nothing up', async (t) => {
  const folder = t.testdir({ 'zero.yaml': t.fixture('symlink', '/dev/zero') })
  await symlink('/proc/self/maps', join(folder, 'proc.yaml'))
  const files = await new ManifestFolder({ folder, maxFileBytes: 16 }).read(
    new AbortController().signal,
  )
  t.same(files, [
    { path: 'proc.yaml', unreadable: 'more than 16 bytes' },
    { path: 'zero.yaml', unreadable: 'it is no regular file' },
  ])
})
