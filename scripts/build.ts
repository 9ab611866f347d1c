/**
 * `make build`: the programs as JavaScript, a whole installation in `dist/`. The same code as the TypeScript, without the
 * compiler that Node otherwise loads into every process and every worker: 20 MiB each. Images and benches run it.
 * Out: `dist/`, replaced as a whole; its node_modules and .tools point to the checkout's.
 */
import { chmodSync, cpSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join, relative } from 'node:path'
import { runMain } from './tools/missing.ts'
import { run } from './tools/run.ts'

const ROOT = join(import.meta.dirname, '..')
const DIST = join(ROOT, 'dist')
/** What the programs read beside their code. */
const FILES = ['bin', 'crds', 'package.json', 'LICENSE']

/** Builds, replaces what is at `target`, and returns its path. */
export async function build(target = DIST): Promise<string> {
  const fresh = mkdtempSync(`${target}.`)
  try {
    const tsc = join(ROOT, 'node_modules/.bin/tsc')
    const args = ['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', fresh]
    // A test runner puts its loader into every child's NODE_OPTIONS; it is not for the compiler.
    await run('env', ['-u', 'NODE_OPTIONS', tsc, ...args])
    for (const name of FILES) cpSync(join(ROOT, name), join(fresh, name), { recursive: true })
    const isCode = (path: string) => !path.endsWith('.d.ts')
    cpSync(join(ROOT, 'proto/gen'), join(fresh, 'proto/gen'), { recursive: true, filter: isCode })
    for (const name of ['node_modules', '.tools'])
      symlinkSync(relative(fresh, join(ROOT, name)), join(fresh, name))
    chmodSync(fresh, 0o755)
    rmSync(target, { recursive: true, force: true })
    renameSync(fresh, target)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return target
}

if (import.meta.main) await runMain(async () => void (await build()))
