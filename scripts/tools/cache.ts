/**
 * The user's cache of tools: `$XDG_CACHE_HOME/postern/<name>-<version>/`, shared by all checkouts.
 * In: what to have and how to make it. Out: a path whose content is the one that was recorded when it was made.
 * An entry appears by rename only; an interrupted build leaves its work folder, from which the next one goes on.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Say } from './progress.ts'

const LOCK_POLL_MS = 500
const EMPTY_LOCK_MS = 10_000

export interface CacheEntry {
  /** The entry's folder, `<name>-<version>`. */
  readonly key: string
  /** The file in it whose digest is recorded and checked. */
  readonly file: string
  /** Makes the product in `workFolder` (kept between attempts) and returns its path: of `file`, or of the folder that holds it. */
  readonly build: (workFolder: string) => Promise<string>
  /** The file's expected SHA-256, lower-case hex, where it is known beforehand. */
  readonly sha256?: string | undefined
  /** The product is a folder: all of it is moved, `file` is one path inside. */
  readonly tree?: boolean
}

export interface Cached {
  readonly path: string
  readonly sha256: string
  /** Made by this call. */
  readonly made: boolean
}

/** Where tools are kept. XDG Base Directory: a relative XDG_CACHE_HOME is ignored. */
export function cacheRoot(env: Readonly<Record<string, string | undefined>>): string {
  const xdg = env.XDG_CACHE_HOME
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(env.HOME ?? homedir(), '.cache')
  return join(base, 'postern')
}

/** Returns the entry, made when it is absent or differs from its record. */
export async function ensure(root: string, entry: CacheEntry, say: Say): Promise<Cached> {
  const path = join(root, entry.key, entry.file)
  const before = await check(path, entry.sha256)
  if (before !== undefined) return { path, sha256: before, made: false }
  await mkdir(root, { recursive: true })
  const unlock = await lock(join(root, `${entry.key}.lock`), say)
  try {
    const meanwhile = await check(path, entry.sha256)
    if (meanwhile !== undefined) return { path, sha256: meanwhile, made: false }
    const workFolder = join(root, `${entry.key}.partial`)
    await mkdir(workFolder, { recursive: true })
    const product = await entry.build(workFolder)
    const sha256 = await place(root, entry, product)
    await rm(workFolder, { recursive: true, force: true })
    return { path, sha256, made: true }
  } finally {
    await unlock()
  }
}

/** Lower-case hex SHA-256 of a file. */
export async function fileSha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash)
  return hash.digest('hex')
}

async function check(path: string, pinned: string | undefined): Promise<string | undefined> {
  try {
    const recorded = (await readFile(recordPath(path), 'utf8')).trim()
    if (pinned !== undefined && pinned !== recorded) return undefined
    return (await fileSha256(path)) === recorded ? recorded : undefined
  } catch {
    return undefined
  }
}

async function place(root: string, entry: CacheEntry, product: string): Promise<string> {
  const source = entry.tree === true ? join(product, entry.file) : product
  const sha256 = await fileSha256(source)
  if (entry.sha256 !== undefined && entry.sha256 !== sha256) {
    throw new Error(`${entry.key}: sha256 is ${sha256}, pinned is ${entry.sha256}`)
  }
  const folder = join(root, entry.key)
  if (entry.tree === true) {
    await writeFile(recordPath(source), `${sha256}\n`)
    await rm(folder, { recursive: true, force: true })
    await rename(product, folder)
    return sha256
  }
  // File before record: a crash between the two leaves a mismatch, which the next run repairs.
  const path = join(folder, entry.file)
  await mkdir(folder, { recursive: true })
  await rename(product, path)
  await writeFile(`${recordPath(path)}.new`, `${sha256}\n`)
  await rename(`${recordPath(path)}.new`, recordPath(path))
  return sha256
}

function recordPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.sha256`)
}

/** One maker at a time. A lock of a process that is gone is taken over; two that take it over at once only work twice. */
async function lock(path: string, say: Say): Promise<() => Promise<void>> {
  for (let told = false; ; ) {
    try {
      const handle = await open(path, 'wx')
      await handle.writeFile(String(process.pid))
      await handle.close()
      return () => rm(path, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const owner = Number(await readFile(path, 'utf8').catch(() => '0'))
    if (owner > 0 ? !isAlive(owner) : await isOld(path)) {
      await rm(path, { force: true })
      continue
    }
    if (!told) say(`waiting for process ${owner}, which is making the same (${basename(path)})`)
    told = true
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS))
  }
}

/** Whether an empty lock was left by a process that died before it could write its pid. */
async function isOld(path: string): Promise<boolean> {
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
  return Date.now() - mtimeMs > EMPTY_LOCK_MS
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
