/**
 * One program per state directory: two would spend each other's credentials, or publish over each other.
 * In: the directory (0700, so that nobody else reaches the lock). Out: a lock of the kernel's, flock(2) on the file
 * `lock`, which ends with the process however that ends. Node has no flock: util-linux's takes it for our open file.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { MeshError } from '../common/errors.ts'
import { codeOf, isDiskFault } from './private-file.ts'

const FILE = 'lock'
/** What `flock --nonblock` says when another has the lock. */
const TAKEN = 1

export interface LockOptions {
  /** The program can work from a disk that is read-only: a lock file that is there is locked without writing to it. */
  readonly mayBeReadOnly?: boolean
}

/**
 * Returns the way to unlock. `program` names the one that asks, and so the one that can have it: `controller`.
 * Errors: ERR_CONFIG when another has it (with its process id), ERR_TOOL_MISSING, ERR_STATE_WRITE.
 */
export async function lockState(
  stateDir: string,
  program: string,
  { mayBeReadOnly = false }: LockOptions = {},
): Promise<() => Promise<void>> {
  const path = join(stateDir, FILE)
  const file = await openLock(path, mayBeReadOnly)
  try {
    if (!(await flock(file.fd, path))) throw await held(file, stateDir, program)
    await notePid(file)
  } catch (error) {
    await file.close()
    throw error
  }
  return () => file.close()
}

/** A read-only disk without the file has nothing to lock that a program started later would heed: refused. */
async function openLock(path: string, mayBeReadOnly: boolean): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  try {
    return await open(path, flags, 0o600)
  } catch (cause) {
    const readOnly = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    if (mayBeReadOnly && codeOf(cause) === 'EROFS') {
      const file = await open(path, readOnly).catch(() => undefined)
      if (file !== undefined) return file
    }
    const remedy = isDiskFault(cause)
      ? 'the disk is full or read-only: make room, or make it writable'
      : 'check its owner and mode'
    const message = `cannot open ${path} (${codeOf(cause)}); ${remedy}`
    throw new MeshError('ERR_STATE_WRITE', message, { cause })
  }
}

/** For whoever looks, and for the other's message; the lock is the kernel's, and holds on a full disk, too. */
async function notePid(file: FileHandle): Promise<void> {
  try {
    await file.truncate()
    await file.write(`${process.pid}\n`, 0)
  } catch (error) {
    // EBADF, EINVAL: opened for reading
    if (!isDiskFault(error) && !['EBADF', 'EINVAL'].includes(codeOf(error))) throw error
  }
}

/** The lock belongs to the open file, which the child shares and we keep. False: another has it. */
async function flock(fd: number, path: string): Promise<boolean> {
  const child = spawn('flock', ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'pipe', fd] })
  const ended = new Promise<number | string | Error>((resolve) => {
    child.on('error', resolve)
    child.on('close', (code, signal) => resolve(code ?? String(signal)))
  })
  const complaint = child.stderr === null ? '' : await text(child.stderr)
  const how = await ended
  if (how instanceof Error) {
    const message = `flock cannot be run (${how.message}); install util-linux (without it two programs could use one state directory)`
    throw new MeshError('ERR_TOOL_MISSING', message)
  }
  if (how === 0 || how === TAKEN) return how === 0
  throw new MeshError('ERR_STATE_WRITE', `cannot lock ${path}: ${complaint.trim() || how}`)
}

async function held(file: FileHandle, stateDir: string, program: string): Promise<MeshError> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0)
  const noted = /^\d+/.exec(buffer.toString('latin1', 0, bytesRead))?.[0]
  const pid = isRunning(Number(noted)) ? noted : undefined
  const who = pid === undefined ? `another ${program}` : `another ${program} (process ${pid})`
  return new MeshError(
    'ERR_CONFIG',
    `${who} uses the state directory ${stateDir}; stop it, or give this one its own with --state`,
  )
}

/** One that locked a read-only disk could not note itself: the number is of one before it. */
function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}
