/**
 * Files that hold keys: 0600, ours, no links, replaced atomically, on the disk before a write resolves.
 * In: paths. Out: contents as Secret, or ERR_STATE_CORRUPT that says what is wrong and what to do.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { MeshError } from '../common/errors.ts'
import { Secret } from '../common/secret.ts'

/** Errors of opening are the system's (ENOENT, ELOOP for a link); all others ERR_STATE_CORRUPT. */
export async function readPrivate(path: string, maxBytes: number): Promise<Secret<string>> {
  // O_NONBLOCK: a pipe in the file's place must not hold us up.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const file = await open(path, flags)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw corrupt(path, 'is not a file', 'restore it from a backup')
    checkPrivate(path, stat, '0600')
    if (stat.size > maxBytes) throw corrupt(path, 'is too large', 'restore it from a backup')
    return new Secret(await file.readFile('utf8'))
  } finally {
    await file.close()
  }
}

/** Resolves when file and folder are synced; a crash leaves the old file or the new one. Errors: the system's. */
export async function writePrivate(path: string, content: string | Uint8Array): Promise<void> {
  const data = typeof content === 'string' ? content : Buffer.from(content)
  await writeFileAtomic(path, data, { mode: 0o600, fsync: true })
  await syncFolder(dirname(path))
}

/** A rename is on the disk when its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** `mode` is what the remedy says: `0600`, `0700`. Throws ERR_STATE_CORRUPT. */
export function checkPrivate(
  path: string,
  stat: { readonly mode: number; readonly uid: number },
  mode: string,
): void {
  if ((stat.mode & 0o077) !== 0) {
    const remedy = `find out who read it, then chmod ${mode} it, or begin with a new state folder`
    throw corrupt(path, 'is open to other users', remedy)
  }
  const user = process.geteuid?.()
  if (user !== undefined && stat.uid !== user)
    throw corrupt(path, `belongs to user ${stat.uid}`, `chown it to user ${user}`)
}

/** `ENOENT`, or the error's own text. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}

/** The disk takes nothing now, full or read-only; nobody asked for something wrong. */
export function isDiskFault(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG'].includes(codeOf(error))
}

export function corrupt(path: string, fault: string, remedy: string): MeshError {
  return new MeshError('ERR_STATE_CORRUPT', `${path} ${fault}; ${remedy}`)
}
