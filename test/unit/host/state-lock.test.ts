/** A lock is held by one process, as long as that lives, and by no other. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { lockState } from '../../../host/state-lock.ts'
import { makeReadOnly } from '../../kit/small-disk.ts'
import { tempDir } from '../../kit/tempdir.ts'

const MODULE = join(import.meta.dirname, '../../../host/state-lock.ts')

/** A process that locks the directory and says whether it could. */
function startLocker(dir: string) {
  const code = `import { lockState } from ${JSON.stringify(MODULE)}
await lockState(${JSON.stringify(dir)}, 'controller').then(() => console.log('held'), () => console.log('refused'))
setTimeout(() => {}, 60_000)`
  return spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

t.test('a live holder is refused, and named', async (t) => {
  const dir = t.testdir()
  const unlock = await lockState(dir, 'controller')
  await t.rejects(lockState(dir, 'controller'), {
    code: 'ERR_CONFIG',
    message: new RegExp(`another controller \\(process ${process.pid}\\) uses the state directory`),
  })
  await unlock()
  await (await lockState(dir, 'sidecar'))()
})

t.test(
  'of processes that start at once, one has it; killed, it leaves nothing behind',
  async (t) => {
    const dir = t.testdir()
    const lockers = [1, 2, 3].map(() => startLocker(dir))
    t.teardown(() => {
      for (const child of lockers) child.kill('SIGKILL')
    })
    const said = await Promise.all(
      lockers.map(async (child) => String((await once(child.stdout, 'data'))[0]).trim()),
    )
    t.same([...said].sort(), ['held', 'refused', 'refused'])
    const holder = lockers[said.indexOf('held')]
    t.equal(readFileSync(join(dir, 'lock'), 'utf8'), `${holder?.pid}\n`)
    holder?.kill('SIGKILL')
    if (holder !== undefined) await once(holder, 'exit')
    await (await lockState(dir, 'controller'))()
  },
)

t.test('what an earlier version left in the file locks nobody out', async (t) => {
  const dir = t.testdir({ lock: `${process.pid} 12345` })
  await (await lockState(dir, 'controller'))()
})

t.test('a link in its place is not followed', async (t) => {
  const dir = t.testdir()
  const target = join(dir, 'target')
  writeFileSync(target, 'kept')
  symlinkSync(target, join(dir, 'lock'))
  await t.rejects(lockState(dir, 'controller'), { code: 'ERR_STATE_WRITE' })
  t.equal(readFileSync(target, 'utf8'), 'kept')
})

const isRoot = process.geteuid?.() === 0
t.test(
  'a read-only disk: for who can work from one, by the file that is there',
  { skip: !isRoot },
  async (t) => {
    const dir = tempDir(t)
    const never = tempDir(t)
    await (await lockState(dir, 'sidecar'))()
    const end = makeReadOnly(t, dir)
    makeReadOnly(t, never)
    await t.rejects(lockState(dir, 'controller'), {
      code: 'ERR_STATE_WRITE',
      message:
        /cannot open .*lock \(EROFS\); the disk is full or read-only: make room, or make it writable/,
    })
    const unlock = await lockState(dir, 'sidecar', { mayBeReadOnly: true })
    await t.rejects(lockState(dir, 'sidecar', { mayBeReadOnly: true }), { code: 'ERR_CONFIG' })
    end()
    await t.rejects(lockState(dir, 'sidecar'), { code: 'ERR_CONFIG' }, 'nor when it can be written')
    await unlock()
    const empty = lockState(never, 'sidecar', { mayBeReadOnly: true })
    await t.rejects(empty, { code: 'ERR_STATE_WRITE' }, 'nothing to lock')
  },
)
