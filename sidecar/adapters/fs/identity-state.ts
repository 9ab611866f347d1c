/**
 * `identity.json` in the sidecar's state folder (0700): 0600, owned by the process's user, replaced atomically and on
 * the disk before `store` resolves. A file that others could read or that is a link is refused.
 */
import { constants } from 'node:fs'
import { lstat, mkdir, open, rename, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import {
  checkPrivate,
  codeOf,
  corrupt,
  readPrivate,
  writePrivate,
} from '../../../host/private-file.ts'
import type { IdentityState, Log } from '../../runtime/identity-ports.ts'

/** Source: statfs(2). */
const TMPFS_MAGIC = 0x01021994
const RAMFS_MAGIC = 0x858458f6

/** A credential, a key and sixteen roots take less than 100 kB. */
const MAX_BYTES = 1024 * 1024

export function createIdentityState(
  stateDir: string,
  log: Pick<Log, 'warn'> = { warn() {} },
  file = 'identity.json',
): IdentityState {
  const path = join(stateDir, file)
  return {
    async load() {
      try {
        checkPrivate(stateDir, await lstat(stateDir), '0700')
        return await readPrivate(path, MAX_BYTES)
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return undefined
        if (error instanceof MeshError) throw error
        throw corrupt(path, `cannot be read (${codeOf(error)})`, 'check its permissions')
      }
    },
    async setAside() {
      try {
        await rename(path, `${path}.bad`)
      } catch (cause) {
        const message = `cannot move ${path} aside (${codeOf(cause)}); check its disk and permissions`
        throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff', cause })
      }
      const fields = { code: 'ERR_STATE_CORRUPT', file: path }
      log.warn(fields, 'stored identity is damaged; it was moved aside, and is proved anew')
    },
    async store(text) {
      try {
        await mkdir(stateDir, { recursive: true, mode: 0o700 })
        checkPrivate(stateDir, await lstat(stateDir), '0700')
        await writePrivate(path, text.reveal())
      } catch (cause) {
        if (cause instanceof MeshError) throw cause
        const message = `cannot write ${path} (${codeOf(cause)}); check its disk and permissions`
        throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff', cause })
      }
    },
  }
}

/** Whether nothing that is written there comes to a disk: a tmpfs, as a memory volume of a pod is. */
export async function isInMemory(dir: string): Promise<boolean> {
  const { type } = await statfs(dir)
  return type === TMPFS_MAGIC || type === RAMFS_MAGIC
}

/** The join token's text, or undefined when there is no such file (yet). Throws ERR_CONFIG. */
export function readJoinTokenFile(path: string): Promise<Secret<string> | undefined> {
  return readSmallFile(path, 'the join token file', 4096)
}

/** What a kubelet keeps fresh in a mounted file; undefined when it is not there (yet). Throws ERR_CONFIG. */
export function readMountedFile(path: string): Promise<Secret<string> | undefined> {
  return readSmallFile(path, 'the file', MAX_BYTES)
}

async function readSmallFile(path: string, what: string, maxBytes: number) {
  try {
    // A pipe without a writer would hold a thread of the pool until there is one.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const { size } = await file.stat()
      const length = Math.min(maxBytes, Math.max(size, 4096))
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0)
      return new Secret(buffer.subarray(0, bytesRead).toString('utf8').trim())
    } finally {
      await file.close()
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    const message = `cannot read ${what} ${path} (${codeOf(error)})`
    throw new MeshError('ERR_CONFIG', message, { retry: 'backoff' })
  }
}
