/**
 * `identity.json` in the sidecar's state folder (0700): 0600, owned by the process's user, replaced atomically and on
 * the disk before `store` resolves. A file that others could read or that is a link is refused.
 */
import { constants } from 'node:fs'
import { lstat, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import type { IdentityState } from '../../runtime/identity-ports.ts'

/** A credential, a key and sixteen roots take less than 100 kB. */
const MAX_BYTES = 1024 * 1024

export function createIdentityState(stateDir: string): IdentityState {
  const path = join(stateDir, 'identity.json')
  return {
    async load() {
      try {
        checkPrivate(stateDir, await lstat(stateDir), '0700')
        return await readPrivate(path)
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return undefined
        if (error instanceof MeshError) throw error
        throw corrupt(path, `cannot be read (${codeOf(error)})`, 'check its permissions')
      }
    },
    async store(text) {
      try {
        await mkdir(stateDir, { recursive: true, mode: 0o700 })
        checkPrivate(stateDir, await lstat(stateDir), '0700')
        await writeFileAtomic(path, text.reveal(), { mode: 0o600, fsync: true })
        await syncFolder(stateDir)
      } catch (cause) {
        if (cause instanceof MeshError) throw cause
        const message = `cannot write ${path} (${codeOf(cause)}); check its disk and permissions`
        throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff', cause })
      }
    },
  }
}

/** The join token's text, or undefined when there is no such file (yet). Throws ERR_CONFIG. */
export async function readJoinTokenFile(path: string): Promise<Secret<string> | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY)
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4096), 0, 4096, 0)
      return new Secret(buffer.subarray(0, bytesRead).toString('utf8').trim())
    } finally {
      await file.close()
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    const message = `cannot read the join token file ${path} (${codeOf(error)})`
    throw new MeshError('ERR_CONFIG', message, { retry: 'backoff' })
  }
}

async function readPrivate(path: string): Promise<Secret<string>> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw corrupt(path, 'is not a file', 'move it away')
    checkPrivate(path, stat, '0600')
    if (stat.size > MAX_BYTES) throw corrupt(path, 'is too large', 'move it away')
    return new Secret(await file.readFile('utf8'))
  } finally {
    await file.close()
  }
}

function checkPrivate(path: string, stat: { mode: number; uid: number }, mode: string): void {
  if ((stat.mode & 0o077) !== 0)
    throw corrupt(path, 'is open to other users', `chmod ${mode} it, or use a new state folder`)
  const user = process.geteuid?.()
  if (user !== undefined && stat.uid !== user)
    throw corrupt(path, `belongs to user ${stat.uid}`, `chown it to user ${user}`)
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}

function corrupt(path: string, fault: string, remedy: string): MeshError {
  return new MeshError('ERR_STATE_CORRUPT', `${path} ${fault}; ${remedy}`)
}
