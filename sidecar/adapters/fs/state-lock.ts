/**
 * One sidecar per state directory: two would spend each other's credential and take each other's sockets.
 * In: the directory (0700, so that nobody else reaches the lock). Out: a lock of the kernel's, flock(2) on the file
 * `lock`, which ends with the process however that ends. Node has no flock: util-linux's takes it for our open file.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { MeshError } from '../../../common/errors.ts'

const FILE = 'lock'
/** What `flock --nonblock` says when another has the lock. */
const TAKEN = 1

/** Returns the way to unlock. Errors: ERR_CONFIG when another sidecar has it, or it can't be had. */
export async function lockState(stateDir: string): Promise<() => Promise<void>> {
  const path = join(stateDir, FILE)
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  const file = await open(path, flags, 0o600).catch((cause: unknown) => {
    throw new MeshError('ERR_CONFIG', `cannot open ${path}: ${String(cause)}`, { cause })
  })
  const fault = await flock(file.fd)
  if (fault === undefined) return () => file.close()
  await file.close()
  const message =
    fault === 'taken'
      ? `another sidecar uses the state directory ${stateDir}; stop it, or give this one its own with --state`
      : `cannot lock ${path}: ${fault}`
  throw new MeshError('ERR_CONFIG', message)
}

/** The lock belongs to the open file, which the child shares and we keep. */
async function flock(fd: number): Promise<string | undefined> {
  const child = spawn('flock', ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'pipe', fd] })
  const ended = new Promise<number | string>((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code, signal) => resolve(code ?? String(signal)))
  })
  const complaint = child.stderr === null ? '' : await text(child.stderr)
  const how = await ended
  if (how === 0) return undefined
  return how === TAKEN ? 'taken' : `flock: ${complaint.trim() || how}`
}
