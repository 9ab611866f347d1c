/**
 * Walks the manifests folder. In: its path. Out: every manifest file with what tells a change, and every directory
 * to watch. Follows symlinks (ConfigMap mounts), ends at loops, leaves out editors' temporary files. Never throws
 * for a single entry: what can't be read is an entry that says why.
 */
import type { BigIntStats } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** One file of the folder, or one place in it that can't be read. */
export interface ScannedFile {
  /** Relative to the folder, with `/`. A directory that can't be read ends with `/`. */
  readonly path: string
  readonly absolute: string
  /** Changes with every write, rename and replacement: inode, size and both times. Absent: not readable. */
  readonly fingerprint?: string
  readonly unreadable?: string
}

export interface Scan {
  /** Sorted by path. */
  readonly files: readonly ScannedFile[]
  /**
   * Absolute path, real and as named → identity: a change of any file shows as an event in one of them.
   * A directory that was removed and made again has another identity.
   */
  readonly directories: ReadonlyMap<string, string>
}

const MANIFEST_NAME = /\.(?:ya?ml|json)$/i
/** Vim's probe `4913` and backups have no manifest name; these have one. `.x` and `..data` are hidden by convention. */
const IGNORED_NAME = /^[.#]|~$|\.(?:swp|swx|tmp|bak|orig)$/i
/** Deeper trees are symlink tricks. */
const MAX_DEPTH = 16
/** Directories that link to each other have more paths than a scan could ever walk. */
const MAX_ENTRIES = 20_000

export function isManifestName(name: string): boolean {
  return MANIFEST_NAME.test(name) && !isIgnoredName(name)
}

/** Whether a file or directory of this name is left out. */
export function isIgnoredName(name: string): boolean {
  return IGNORED_NAME.test(name)
}

/** Rejects when the folder itself can't be read, or has too much in it. */
export async function scanFolder(root: string, maxEntries = MAX_ENTRIES): Promise<Scan> {
  const files: ScannedFile[] = []
  const scan = { files, directories: new Map<string, string>(), entriesLeft: maxEntries }
  await readdir(root)
  await scanDirectory({ absolute: root, relative: '', parents: [], scan })
  scan.files.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  return scan
}

interface Visit {
  readonly absolute: string
  readonly relative: string
  /** Real paths of the directories above: a link to one of them is a loop. */
  readonly parents: readonly string[]
  readonly scan: { files: ScannedFile[]; directories: Map<string, string>; entriesLeft: number }
}

class TooMuch extends Error {}

async function scanDirectory(visit: Visit): Promise<void> {
  const { scan, relative } = visit
  try {
    const real = await realpath(visit.absolute)
    if (visit.parents.includes(real) || visit.parents.length > MAX_DEPTH) return
    const { dev, ino } = await stat(visit.absolute, { bigint: true })
    scan.directories.set(visit.absolute, `${dev}:${ino}`).set(real, `${dev}:${ino}`)
    const entries = await readdir(visit.absolute)
    const parents = [...visit.parents, real]
    for (const name of entries) {
      if (!isIgnoredName(name)) await scanEntry({ ...visit, parents }, name)
    }
  } catch (error) {
    if (error instanceof TooMuch) throw error
    // Gone between two calls: the next scan sees what is there then.
    if (relative !== '' && isGone(error)) return
    scan.files.push({ path: relative, absolute: visit.absolute, unreadable: reason(error) })
  }
}

async function scanEntry(visit: Visit, name: string): Promise<void> {
  visit.scan.entriesLeft -= 1
  if (visit.scan.entriesLeft < 0) throw new TooMuch('it has too many files, or links in circles')
  const absolute = join(visit.absolute, name)
  const path = visit.relative + name
  let found: BigIntStats
  try {
    found = await stat(absolute, { bigint: true })
  } catch (error) {
    // A dangling link is there and can't be read; its objects must not count as deleted.
    if (isManifestName(name)) {
      visit.scan.files.push({ path, absolute, unreadable: reason(error) })
    }
    return
  }
  if (found.isDirectory()) {
    await scanDirectory({ ...visit, absolute, relative: `${path}/` })
    return
  }
  if (!isManifestName(name)) return
  if (!found.isFile()) {
    visit.scan.files.push({ path, absolute, unreadable: 'it is no regular file' })
    return
  }
  const target = dirname(await realpath(absolute).catch(() => absolute))
  if (!visit.scan.directories.has(target)) visit.scan.directories.set(target, '')
  visit.scan.files.push({ path, absolute, fingerprint: fingerprint(found) })
}

function fingerprint(s: BigIntStats): string {
  return [s.dev, s.ino, s.size, s.mtimeNs, s.ctimeNs].join(':')
}

function isGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}

/** The world's reason in few words, without absolute paths. */
export function reason(error: unknown): string {
  if (error instanceof TooMuch) return error.message
  const code = (error as NodeJS.ErrnoException).code
  const known: Readonly<Record<string, string>> = {
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    ENOENT: 'it does not exist',
    ELOOP: 'its symbolic links form a loop',
    ENOTDIR: 'it is no directory',
    EIO: 'the disk reports an error',
  }
  return known[code ?? ''] ?? code ?? 'unknown error'
}
