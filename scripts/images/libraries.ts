/**
 * The shared libraries that a program needs, as the machine's own loader finds them: an image brings its own libc, so
 * it runs on any node. In: a binary. Out: entries at the paths where the loader looks. A static binary has none.
 */
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { run } from '../tools/run.ts'
import type { Entry } from './layer.ts'

/** glibc loads them by name when a host is looked up (before 2.34; since then they are stubs). */
const NAME_SERVICES = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2']

/** The program at `path`, and its libraries. `folders` are searched before the machine's. */
export async function programWithLibraries(
  path: string,
  source: string,
  folders: readonly string[] = [],
): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>([[path, file(source, true)]])
  for (const [at, library] of await librariesOf(source, folders))
    entries.set(at, file(library, true))
  return entries
}

async function librariesOf(
  binary: string,
  folders: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  const env = { LD_LIBRARY_PATH: folders.join(':'), LC_ALL: 'C' }
  // ldd fails on a static binary, and says so.
  const listing = await run('ldd', [realpathSync(binary)], { env }).catch(() => Buffer.from(''))
  for (const [, path = ''] of listing.toString().matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) {
    found.set(placeOf(path, folders), realpathSync(path))
    if (!path.endsWith('/libc.so.6')) continue
    for (const name of NAME_SERVICES) {
      const beside = join(dirname(path), name)
      if (existsSync(beside)) found.set(beside, realpathSync(beside))
    }
  }
  return found
}

/** A library out of a folder of ours goes where the loader of the image looks by itself. */
function placeOf(path: string, folders: readonly string[]): string {
  if (!folders.includes(dirname(path))) return path
  return `/usr/lib/${path.slice(path.lastIndexOf('/') + 1)}`
}

/** The library folders below the root of unpacked Debian packages. */
export function libraryFolders(root: string): string[] {
  return ['usr/lib', 'lib'].flatMap((below) => {
    const folder = join(root, below)
    if (!existsSync(folder)) return []
    return readdirSync(folder)
      .filter((name) => name.includes('-linux-gnu'))
      .map((name) => join(folder, name))
  })
}

export function file(source: string, executable: boolean): Entry {
  return { kind: 'file', source: realpathSync(source), executable }
}
