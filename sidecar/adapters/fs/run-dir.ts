/**
 * Where sockets and Envoy's bootstrap go: the run directory, or, when its disk takes nothing at the start, one in memory
 * or among the temporary files, ours alone as well. In: the directory that is wanted. Out: the one that works, and why it is
 * another, for as long as it would be another.
 */
import { createHash } from 'node:crypto'
import { lstat, mkdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MeshError } from '../../../common/errors.ts'
import { preparePrivateDir } from '../../../host/private-dir.ts'
import { codeOf, isDiskFault } from '../../../host/private-file.ts'

export interface RunDir {
  readonly dir: string
  /** Why it is not the one that was wanted; undefined: it is, or that one could be used again. */
  problem(): MeshError | undefined
  /** Call when everything in it has gone. */
  close(): Promise<void>
}

export interface RunDirOptions {
  /** Where another one is made, the first that works. Default: memory, then the temporary files. */
  readonly places?: readonly string[]
  readonly lookEveryMs?: number
}

/** What the bootstrap takes at most, and the sockets' inodes beside it. */
const PROBE = Buffer.alloc(16 * 1024)
const PROBE_FILE = '.probe'
const LOOK_EVERY_MS = 5_000
const HASH_LENGTH = 16

/** Errors: ERR_CONFIG when it can't be used for another reason than its disk, ERR_STATE_WRITE when nothing else works. */
export async function openRunDir(wanted: string, options: RunDirOptions = {}): Promise<RunDir> {
  const fault = await diskFaultOf(wanted)
  if (fault === undefined) return { dir: wanted, problem: () => undefined, close: async () => {} }
  const dir = await makeOther(wanted, options.places ?? ['/dev/shm', tmpdir()])
  if (dir === undefined) {
    const message = `cannot write in ${wanted} (${fault}); make room there, or give a --run-dir on another disk`
    throw new MeshError('ERR_STATE_WRITE', message)
  }
  const text = `cannot write in ${wanted} (${fault}); the sockets are in ${dir} until the next start`
  let problem: MeshError | undefined = new MeshError('ERR_STATE_WRITE', text)
  const look = async () => {
    const now = await diskFaultOf(wanted).catch(() => undefined)
    if (now !== undefined) return
    problem = undefined
    clearInterval(timer)
  }
  const timer = setInterval(() => void look(), options.lookEveryMs ?? LOOK_EVERY_MS).unref()
  const close = async () => {
    clearInterval(timer)
    // never what is in it: whatever is left is not ours to judge
    await rmdir(dir).catch(() => undefined)
  }
  return { dir, problem: () => problem, close }
}

/** `ENOSPC`, `EROFS` …; undefined: it takes what we have to write. */
async function diskFaultOf(dir: string): Promise<string | undefined> {
  const probe = join(dir, PROBE_FILE)
  try {
    await makeOne(dir)
    await preparePrivateDir(dir)
    await writeFile(probe, PROBE, { mode: 0o600 })
    return undefined
  } catch (error) {
    const fault = error instanceof MeshError ? error.cause : error
    if (isDiskFault(fault)) return codeOf(fault)
    if (error instanceof MeshError) throw error
    const message = `the directory ${dir} cannot be used (${codeOf(error)}); check its owner and mode`
    throw new MeshError('ERR_CONFIG', message, { cause: error })
  } finally {
    await rm(probe, { force: true }).catch(() => undefined)
  }
}

/** Made with all its parents, Node calls a read-only disk ENOENT. */
async function makeOne(dir: string): Promise<void> {
  await mkdir(dir, { mode: 0o700 }).catch((error: unknown) => {
    if (isDiskFault(error)) throw error
  })
}

/** The same each time, so that one that was killed leaves no heap of them behind. Others may write beside it, not in it. */
async function makeOther(wanted: string, places: readonly string[]): Promise<string | undefined> {
  const hash = createHash('sha256').update(wanted).digest('hex').slice(0, HASH_LENGTH)
  for (const place of places) {
    const dir = join(place, `postern-${process.geteuid?.()}-${hash}`)
    try {
      // never with its parents: a machine without the place shall not get it
      await mkdir(dir, { mode: 0o700 }).catch((error: unknown) => {
        if (codeOf(error) !== 'EEXIST') throw error
      })
      await preparePrivateDir(dir)
      // A link that someone else put there leads elsewhere.
      if (!(await lstat(dir)).isDirectory()) continue
      if ((await diskFaultOf(dir)) === undefined) return dir
    } catch {
      // the next place
    }
  }
  return undefined
}
