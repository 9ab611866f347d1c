/**
 * Walks the manifests folder, or looks again at single places of it. In: its path. Out: every manifest file with what
 * tells a change, and every directory to watch. Follows symlinks (ConfigMap mounts), ends at loops, leaves out editors' temporary files. Never throws
 * for a single entry: what can't be read is an entry that says why.
 */
import type { BigIntStats, Dirent } from 'node:fs'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** One file of the folder, or one place in it that can't be read. */
export interface ScannedFile {
  /** Relative to the folder, with `/`. A directory that can't be read ends with `/`. */
  readonly path: string
  readonly absolute: string
  /** Changes with every write, rename and replacement: inode, size and both times. Absent: not readable. */
  readonly fingerprint?: string
  /** When it was last changed, epoch milliseconds; there with the fingerprint. */
  readonly changedMs?: number
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
  /** What stands below each of them: its path relative to the folder, empty or ending with `/`. */
  readonly prefixes: ReadonlyMap<string, string>
  /** Some entry is a symbolic link: then a change at one place may show at another. */
  readonly hasLinks: boolean
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

interface Walk {
  readonly files: ScannedFile[]
  readonly directories: Map<string, string>
  readonly prefixes: Map<string, string>
  entriesLeft: number
  hasLinks: boolean
}

/** Rejects when the folder itself can't be read, or has too much in it. */
export async function scanFolder(root: string, maxEntries = MAX_ENTRIES): Promise<Scan> {
  const walk: Walk = {
    files: [],
    directories: new Map(),
    prefixes: new Map(),
    entriesLeft: maxEntries,
    hasLinks: false,
  }
  await readdir(root)
  await scanDirectory({ absolute: root, relative: '', parents: [], walk })
  walk.files.sort(byPath)
  return walk
}

/**
 * The scan with these places looked at again: absolute paths of files or of what else events named. Undefined when that
 * can't be told from the places alone (links, directories), and the whole folder must be walked.
 */
export async function rescanPlaces(
  before: Scan,
  places: ReadonlySet<string>,
): Promise<Scan | undefined> {
  if (before.hasLinks) return undefined
  const found = new Map<string, ScannedFile | undefined>()
  for (const absolute of places) {
    const name = basename(absolute)
    const prefix = before.prefixes.get(dirname(absolute))
    if (isIgnoredName(name)) continue
    if (prefix === undefined || before.directories.has(absolute)) return undefined
    const entry = await lstat(absolute, { bigint: true }).catch(() => undefined)
    if (entry !== undefined && !entry.isFile()) return undefined
    if (!isManifestName(name)) continue
    found.set(prefix + name, entry && toFile(prefix + name, absolute, entry))
  }
  const rest = before.files.filter(({ path }) => !found.has(path))
  const files = [...rest, ...[...found.values()].filter((f) => f !== undefined)].sort(byPath)
  return { ...before, files }
}

interface Visit {
  readonly absolute: string
  readonly relative: string
  /** Real paths of the directories above: a link to one of them is a loop. */
  readonly parents: readonly string[]
  readonly walk: Walk
}

class TooMuch extends Error {}

async function scanDirectory(visit: Visit): Promise<void> {
  const { walk, relative } = visit
  try {
    const real = await realpath(visit.absolute)
    if (visit.parents.includes(real) || visit.parents.length > MAX_DEPTH) return
    const { dev, ino } = await stat(visit.absolute, { bigint: true })
    for (const path of [visit.absolute, real]) {
      walk.directories.set(path, `${dev}:${ino}`)
      walk.prefixes.set(path, relative)
    }
    const entries = await readdir(visit.absolute, { withFileTypes: true })
    const parents = [...visit.parents, real]
    for (const entry of entries) {
      if (!isIgnoredName(entry.name)) await scanEntry({ ...visit, parents }, entry)
    }
  } catch (error) {
    if (error instanceof TooMuch) throw error
    // Gone between two calls: the next scan sees what is there then.
    if (relative !== '' && isGone(error)) return
    walk.files.push({ path: relative, absolute: visit.absolute, unreadable: reason(error) })
  }
}

async function scanEntry(visit: Visit, entry: Dirent): Promise<void> {
  const { walk } = visit
  walk.entriesLeft -= 1
  if (walk.entriesLeft < 0) throw new TooMuch('it has too many files, or links in circles')
  const absolute = join(visit.absolute, entry.name)
  const path = visit.relative + entry.name
  if (entry.isFile() && !isManifestName(entry.name)) return
  let found: BigIntStats
  try {
    found = await stat(absolute, { bigint: true })
  } catch (error) {
    // A dangling link is there and can't be read; its objects must not count as deleted.
    if (isManifestName(entry.name)) {
      walk.files.push({ path, absolute, unreadable: reason(error) })
    }
    return
  }
  if (!entry.isFile() && !entry.isDirectory()) walk.hasLinks = true
  if (found.isDirectory()) {
    await scanDirectory({ ...visit, absolute, relative: `${path}/` })
    return
  }
  if (!isManifestName(entry.name)) return
  if (entry.isSymbolicLink()) {
    const target = dirname(await realpath(absolute).catch(() => absolute))
    if (!walk.directories.has(target)) walk.directories.set(target, '')
  }
  walk.files.push(toFile(path, absolute, found))
}

function toFile(path: string, absolute: string, found: BigIntStats): ScannedFile {
  if (!found.isFile()) return { path, absolute, unreadable: 'it is no regular file' }
  const changedNs = found.mtimeNs > found.ctimeNs ? found.mtimeNs : found.ctimeNs
  const changedMs = Number(changedNs / 1_000_000n)
  return { path, absolute, fingerprint: fingerprint(found), changedMs }
}

function byPath(a: ScannedFile, b: ScannedFile): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0
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
