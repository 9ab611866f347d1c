/**
 * The controller's `ca` folder: 0700, its files 0600 and owned by the process's user. Made whole by one rename, so a
 * folder that is there is complete, and whatever is missing or open to others later is refused, never made anew.
 * Out: contents as Secret. What it writes is on the disk (file and folder synced) before the promise resolves.
 */
import { lstat, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MeshError } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import {
  checkPrivate,
  codeOf,
  corrupt,
  readPrivate,
  syncFolder,
  writePrivate,
} from '../../../host/private-file.ts'
import type { IdentityStore } from '../../runtime/identity/ports.ts'

/** Far above what 50,000 workloads take. */
const MAX_BYTES = 64 * 1024 * 1024

const REMEDY =
  'restore the ca folder from a backup, or remove the whole state directory to begin anew: every workload must ' +
  'then join again'

/** `folder`: path of the `ca` folder; the one above it is made when it is not there. */
export function createIdentityStore(folder: string): IdentityStore {
  return {
    place: `the folder ${basename(folder)} of the state directory`,
    remedy: REMEDY,
    exists: () => folderExists(folder),
    create: (files) => wrapped(folder, () => createFolder(folder, files)),
    read: (name) => readFrom(join(folder, name)),
    write: (name, content) =>
      wrapped(join(folder, name), () => writePrivate(join(folder, name), content.reveal())),
  }
}

async function folderExists(folder: string): Promise<boolean> {
  let stat: Awaited<ReturnType<typeof lstat>>
  try {
    stat = await lstat(folder)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw corrupt(folder, `cannot be looked at (${codeOf(error)})`, 'check its permissions')
  }
  if (!stat.isDirectory()) throw corrupt(folder, 'is not a folder', 'move it away')
  checkPrivate(folder, stat, '0700')
  return true
}

async function createFolder(
  folder: string,
  files: ReadonlyMap<string, Secret<string>>,
): Promise<void> {
  const parent = dirname(folder)
  await mkdir(parent, { recursive: true, mode: 0o700 })
  const prefix = `${basename(folder)}.new-`
  // What a crash left behind: keys that nothing was ever signed with.
  for (const name of await readdir(parent))
    if (name.startsWith(prefix)) await rm(join(parent, name), { recursive: true })
  const made = await mkdtemp(join(parent, prefix))
  try {
    for (const [name, content] of files) {
      const file = await open(join(made, name), 'wx', 0o600)
      try {
        await file.writeFile(content.reveal())
        await file.sync()
      } finally {
        await file.close()
      }
    }
    await syncFolder(made)
    await rename(made, folder)
    await syncFolder(parent)
  } catch (error) {
    await rm(made, { recursive: true, force: true })
    throw error
  }
}

async function readFrom(path: string): Promise<Secret<string>> {
  try {
    return await readPrivate(path, MAX_BYTES)
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw corrupt(path, `cannot be opened (${codeOf(error)})`, REMEDY)
  }
}

async function wrapped(path: string, write: () => Promise<void>): Promise<void> {
  try {
    await write()
  } catch (cause) {
    const message = `cannot write ${path} (${codeOf(cause)}); check its disk and permissions`
    throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff', cause })
  }
}
