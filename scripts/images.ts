/**
 * `make images` and `make push`: OCI archives of controller, sidecar and init in .tools/images/. Built ones go into this
 * checkout's test cluster when it is up; `push` sends them to REGISTRY by crane, which takes the user's login.
 * Out: name, size and digest of each.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEFAULT_NAME } from './cluster/layout.ts'
import { importIntoRunning } from './cluster/up.ts'
import { type Built, buildImages } from './images/build.ts'
import { Missing, runMain } from './tools/missing.ts'
import { formatBytes } from './tools/progress.ts'
import { run } from './tools/run.ts'

const ROOT = join(import.meta.dirname, '..')
const say = (line: string) => void process.stdout.write(`${line}\n`)

async function build(): Promise<void> {
  const images = await buildImages(ROOT)
  for (const { name, reference, bytes, digest } of images)
    say(`${name.padEnd(10)}  ${formatBytes(bytes).padStart(6)}  ${reference}  ${digest}`)
  const cluster = process.env.CLUSTER || DEFAULT_NAME
  const paths = images.map(({ path }) => path)
  if (await importIntoRunning(cluster, ROOT, paths)) say(`imported into the cluster ${cluster}`)
}

async function push(): Promise<void> {
  const registry = process.env.REGISTRY?.replace(/\/$/, '')
  if (!registry)
    throw new Missing('REGISTRY is missing: make push REGISTRY=registry.example.com/postern')
  for (const image of await buildImages(ROOT)) await pushOne(image, registry)
}

/** crane takes an OCI layout as a folder. */
async function pushOne({ name, reference, path, digest }: Built, registry: string): Promise<void> {
  const target = `${registry}/${name}:${reference.slice(reference.lastIndexOf(':') + 1)}`
  const layout = mkdtempSync(join(tmpdir(), 'postern-push-'))
  try {
    await run('tar', ['-xf', path, '-C', layout])
    const insecure = process.env.INSECURE ? ['--insecure'] : []
    await run(join(ROOT, '.tools/crane'), ['push', ...insecure, layout, target])
    say(`${target}@${digest}`)
  } finally {
    rmSync(layout, { recursive: true, force: true })
  }
}

await runMain(() => (process.argv[2] === 'push' ? push() : build()))
