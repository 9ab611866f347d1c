/**
 * Writes what is derived from crds/*.yaml: types, the schemas as a literal, and docs/reference/crds.md.
 * Usage: `node scripts/gen-crd-types.ts [--check]`; with --check nothing is written, and drift exits 1.
 * Same CRDs, same bytes. Refuses a CRD that uses a keyword that standalone does not check.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { parse } from 'yaml'
import { type Crd, readCrd } from './crd/crd.ts'
import { crdDocs } from './crd/docs.ts'
import { objectsModule, schemasModule } from './crd/literals.ts'
import { typesModule } from './crd/types.ts'

const ROOT = join(import.meta.dirname, '..')
const OUT = 'controller/core/crd/generated'

async function loadCrds(): Promise<Crd[]> {
  const folder = join(ROOT, 'crds')
  const files = (await readdir(folder)).filter((f) => f.endsWith('.yaml')).sort()
  return Promise.all(
    files.map(async (file) => readCrd(file, parse(await readFile(join(folder, file), 'utf8')))),
  )
}

/** Every generated file, by its path in the repo. */
export async function generate(): Promise<Map<string, string>> {
  const crds = await loadCrds()
  const files = new Map<string, string>()
  for (const crd of crds)
    files.set(`${OUT}/${crd.file.replace(/\.yaml$/, '.ts')}`, await typesModule(crd))
  files.set(`${OUT}/objects.ts`, objectsModule(crds))
  files.set(`${OUT}/schemas.ts`, schemasModule(crds))
  files.set('docs/reference/crds.md', crdDocs(crds))
  return files
}

/** Paths whose committed text differs, is missing, or is no longer generated. */
export async function findDrift(files: ReadonlyMap<string, string>): Promise<string[]> {
  const drift: string[] = []
  for (const [path, text] of files) {
    const found = await readFile(join(ROOT, path), 'utf8').catch(() => undefined)
    if (found !== text) drift.push(path)
  }
  return [...drift, ...(await findOrphans(files))]
}

async function findOrphans(files: ReadonlyMap<string, string>): Promise<string[]> {
  const present = await readdir(join(ROOT, OUT)).catch(() => [])
  return present.map((f) => `${OUT}/${f}`).filter((path) => !files.has(path))
}

async function write(files: ReadonlyMap<string, string>): Promise<void> {
  for (const path of await findOrphans(files)) await rm(join(ROOT, path))
  for (const [path, text] of files) {
    const target = join(ROOT, path)
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, text)
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const files = await generate()
  if (!argv.includes('--check')) {
    await write(files)
    return 0
  }
  const drift = await findDrift(files)
  for (const path of drift) console.error(`${path} is not what crds/ says; run make generate`)
  return drift.length === 0 ? 0 : 1
}

if (relative(process.argv[1] ?? '', import.meta.filename) === '') {
  process.exitCode = await main(process.argv.slice(2))
}
