/**
 * Runs every generator (scripts/gen-*.ts), protos first and the architecture drawing last.
 * In: the tree. Out: its generated files; with `--check` nothing is written: the generators run in a copy of the
 * tree, and each file that they would add, change or remove is named as drift, with exit code 1.
 */
import { cp, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runMain } from './tools/missing.ts'
import { RunError, run } from './tools/run.ts'

const ROOT = join(import.meta.dirname, '..')
const FIRST = 'gen-protos.ts'
const LAST = 'gen-architecture.ts'

async function generate(root: string): Promise<void> {
  const names = (await readdir(join(root, 'scripts'))).filter((n) => /^gen-.*\.ts$/.test(n)).sort()
  const rest = names.filter((name) => name !== FIRST && name !== LAST)
  const ordered = [FIRST, ...rest, LAST].filter((name) => names.includes(name))
  for (const name of ordered)
    await run(process.execPath, [join(root, 'scripts', name)], { cwd: root })
}

/** Every file of the tree that git knows or would add, path → content. */
async function readTree(root: string, paths: readonly string[]): Promise<Map<string, string>> {
  const tree = new Map<string, string>()
  for (const path of paths) {
    const text = await readFile(join(root, path), 'latin1').catch(() => undefined)
    if (text !== undefined) tree.set(path, text)
  }
  return tree
}

async function listTree(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
}

/** Paths that differ between two trees, each with what the generators would do to it. */
export function drift(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): string[] {
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort()
  return paths.flatMap((path) => {
    const [old, fresh] = [before.get(path), after.get(path)]
    if (old === fresh) return []
    return [
      `${old === undefined ? 'missing' : fresh === undefined ? 'left over' : 'differs'}: ${path}`,
    ]
  })
}

async function check(): Promise<void> {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const listed = (await run('git', args, { cwd: ROOT })).toString().split('\0').filter(Boolean)
  const copy = await mkdtemp(join(tmpdir(), 'postern-generate-'))
  try {
    const before = await readTree(ROOT, listed)
    for (const path of before.keys()) await cp(join(ROOT, path), join(copy, path), { mode: 0 })
    await run('git', ['init', '-q'], { cwd: copy }) // generators ask git for the list of files
    await generateInCopy(copy)
    await rm(join(copy, '.git'), { recursive: true })
    const found = drift(before, await readTree(copy, await listTree(copy)))
    if (found.length > 0) {
      throw new RunError(
        `generated files differ from their sources; run \`make generate\`\n${found.join('\n')}`,
      )
    }
    process.stdout.write(`generated files are in step with their sources\n`)
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

async function generateInCopy(copy: string): Promise<void> {
  const modules = join(copy, 'node_modules')
  await symlink(join(ROOT, 'node_modules'), modules)
  await generate(copy)
  await rm(modules)
}

if (import.meta.main) {
  await runMain(() => (process.argv.includes('--check') ? check() : generate(ROOT)))
}
