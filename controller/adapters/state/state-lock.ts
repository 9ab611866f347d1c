/**
 * One controller per state directory. In: the directory. Out: a lock file with this process's id, or ERR_CONFIG that
 * names who has it. A lock whose process is gone is taken over; a process id that was given anew is told apart by its
 * start time.
 */
import { link, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../common/errors.ts'

const ATTEMPTS = 5

/** Returns the way to unlock. Errors: ERR_CONFIG (held by a live process), ERR_STATE_WRITE. */
export async function lockState(stateDir: string): Promise<() => Promise<void>> {
  const path = join(stateDir, 'lock')
  const own = await describe(process.pid)
  for (let i = 0; i < ATTEMPTS; i++) {
    if (await create(path, own)) return () => unlock(path, own)
    const holder = await readFile(path, 'utf8').catch(() => undefined)
    if (holder === undefined) continue
    const pid = Number(holder.split(' ')[0])
    if (await isAlive(pid, holder)) throw held(stateDir, pid)
    await takeAway(path, holder)
  }
  throw held(stateDir, undefined)
}

async function create(path: string, content: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600)
    await file.writeFile(content)
    await file.close()
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new MeshError('ERR_STATE_WRITE', `the lock file ${path} can't be written`, { cause })
  }
}

/** Removes a dead process's lock. Moves it first: another starter may have put its own there meanwhile. */
async function takeAway(path: string, holder: string): Promise<void> {
  const aside = `${path}.${process.pid}`
  try {
    await rename(path, aside)
    if ((await readFile(aside, 'utf8')) !== holder) await link(aside, path)
  } catch {
    // Another starter was faster; the next attempt sees its lock.
  } finally {
    await rm(aside, { force: true })
  }
}

async function unlock(path: string, own: string): Promise<void> {
  const content = await readFile(path, 'utf8').catch(() => '')
  if (content === own) await rm(path, { force: true })
}

async function isAlive(pid: number, holder: string): Promise<boolean> {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  return (await describe(pid)) === holder
}

/**
 * `<pid> <start time>`; the start time is field 22 of /proc/<pid>/stat, empty where there is none.
 * A zombie (field 3) has ended, though its parent has not asked for it yet: it holds nothing.
 */
async function describe(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (afterName[0] === 'Z') return `${pid} ended`
  return `${pid} ${afterName[19] ?? ''}`
}

function held(stateDir: string, pid: number | undefined): MeshError {
  const who = pid === undefined ? 'another controller' : `another controller (process ${pid})`
  return new MeshError(
    'ERR_CONFIG',
    `${who} uses the state directory ${stateDir}; stop it, or give this one its own with --state`,
  )
}
