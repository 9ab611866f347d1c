/**
 * Generates proto/gen (JavaScript and its types, committed) from proto/roots.txt and proto/postern/**.proto.
 * In: descriptors out of the packages pinned in proto/requirements.txt. Out: proto/gen, replaced as a whole.
 * Why descriptors and not .proto files: docs/decisions/0003. Needs Python 3 with pip or venv, once; then offline.
 */
import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fromBinary } from '@bufbuild/protobuf'
import { CodeGeneratorResponseSchema } from '@bufbuild/protobuf/wkt'
import { cacheRoot, ensure } from './tools/cache.ts'
import { runMain } from './tools/missing.ts'
import { pipInstall, pythonVersion } from './tools/pip.ts'
import { withProgress } from './tools/progress.ts'
import { run } from './tools/run.ts'

const ROOT = join(import.meta.dirname, '..')
const PARAMETER = 'target=js+dts,import_extension=js'
const say = (line: string) => process.stderr.write(`${line}\n`)

/** The Python packages' folder in the cache; one per requirements and Python version (wheels differ by both). */
async function pythonPackages(): Promise<string> {
  const requirements = await readFile(join(ROOT, 'proto/requirements.txt'), 'utf8')
  const cache = cacheRoot(process.env)
  const version = await pythonVersion()
  const digest = createHash('sha256').update(requirements).digest('hex').slice(0, 12)
  const entry = {
    key: `protos-${digest}-python${version}`,
    file: 'envoy/service/discovery/v3/ads_pb2.py',
    tree: true,
    build: async (workFolder: string) => {
      const target = join(workFolder, 'packages')
      const step = { label: 'proto descriptors', expected: '9 MB', folder: workFolder }
      await withProgress(say, step, () => pipInstall(cache, workFolder, requirements, target))
      return target
    },
  }
  return join((await ensure(cache, entry, say)).path, '../../../../..')
}

async function main(): Promise<void> {
  const packages = await pythonPackages()
  const script = join(ROOT, 'scripts/gen-protos.py')
  const request = await run('python3', [
    '-I',
    '-c',
    BOOT,
    packages,
    script,
    join(ROOT, 'proto'),
    PARAMETER,
  ])
  const plugin = fileURLToPath(import.meta.resolve('@bufbuild/protoc-gen-es/package.json'))
  const bin = join(dirname(plugin), 'bin/protoc-gen-es')
  const answer = await run(process.execPath, [bin], { stdin: request })
  const response = fromBinary(CodeGeneratorResponseSchema, answer)
  if (response.error !== '') throw new Error(`protoc-gen-es: ${response.error}`)
  const fresh = join(ROOT, 'proto/gen.new')
  await rm(fresh, { recursive: true, force: true })
  for (const file of response.file) {
    const path = join(fresh, file.name)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, file.content)
  }
  const old = join(ROOT, 'proto/gen.old')
  await rename(join(ROOT, 'proto/gen'), old)
  await rename(fresh, join(ROOT, 'proto/gen'))
  await rm(old, { recursive: true })
  say(`proto/gen: ${response.file.length} files`)
}

/** Isolated Python (-I ignores the user's site packages and PYTHONPATH), with only our packages added. */
const BOOT =
  'import runpy, sys; sys.path.insert(0, sys.argv[1]); del sys.argv[:2]; runpy.run_path(sys.argv[0], run_name="__main__")'

await runMain(main)
