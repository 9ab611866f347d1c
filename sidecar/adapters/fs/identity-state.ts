/**
 * `identity.json` in the sidecar's state folder (0700): 0600, owned by the process's user, replaced atomically and on
 * the disk before `store` resolves. A file that others could read or that is a link is refused.
 */
import { constants } from 'node:fs'
import { lstat, mkdir, open, rename } from 'node:fs/promises'
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

/** A credential, a key and sixteen roots take less than 100 kB. */
const MAX_BYTES = 1024 * 1024

export function createIdentityState(
  stateDir: string,
  log: Pick<Log, 'warn'> = { warn() {} },
): IdentityState {
  const path = join(stateDir, 'identity.json')
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
      log.warn(fields, 'stored identity is damaged; it was moved aside, and the join token is used')
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

/** The join token's text, or undefined when there is no such file (yet). Throws ERR_CONFIG. */
export async function readJoinTokenFile(path: string): Promise<Secret<string> | undefined> {
  try {
    // A pipe without a writer would hold a thread of the pool until there is one.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
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
