/** A lock is held by a process that lives, and by no other. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { lockState } from '../../../../../controller/adapters/state/state-lock.ts'
import { waitFor } from '../../../../kit/wait.ts'

function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

t.test('a live holder is refused, and named', async (t) => {
  const dir = t.testdir()
  const unlock = await lockState(dir)
  await t.rejects(lockState(dir), { code: 'ERR_CONFIG', message: new RegExp(`${process.pid}`) })
  await unlock()
  await (await lockState(dir))()
})

t.test('a zombie holds nothing: its lock is taken over', async (t) => {
  const dir = t.testdir()
  // The shell's child ends at once, and the sleep that the shell becomes never asks for it.
  const parent = spawn('sh', ['-c', 'true & echo $!; exec sleep 30'])
  t.teardown(() => parent.kill('SIGKILL'))
  const [line] = (await once(parent.stdout, 'data')) as [Buffer]
  const pid = Number(line.toString())
  await waitFor(() => statOf(pid)[0] === 'Z')
  writeFileSync(join(dir, 'lock'), `${pid} ${statOf(pid)[19]}`)
  await (await lockState(dir))()
})
