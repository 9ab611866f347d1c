/**
 * `make cluster` and `make cluster-down`: a real Kubernetes of one node, on this machine, without Docker or a registry.
 * In: CLUSTER (name), CLUSTER_NETWORK (`10.99`), KUBERNETES (release). Out: .tools/cluster/kubeconfig, .tools/kubectl,
 * .tools/helm. Usage: cluster.ts up|down.
 */
import { existsSync, readlinkSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { takeDown } from './cluster/down.ts'
import { DEFAULT_NAME } from './cluster/layout.ts'
import { stateRoot } from './cluster/state.ts'
import { bringUp } from './cluster/up.ts'
import { imagesFolder } from './images/build.ts'
import { link } from './tools/bring.ts'
import { kubernetesRelease } from './tools/kubernetes.ts'
import { runMain } from './tools/missing.ts'

const ROOT = join(import.meta.dirname, '..')
const LINK = join(ROOT, '.tools/cluster')
const say = (line: string) => void process.stdout.write(`${line}\n`)
const name = process.env.CLUSTER || DEFAULT_NAME

async function up(): Promise<void> {
  const folder = imagesFolder(ROOT)
  const images = ['controller', 'sidecar', 'init'].map((image) => join(folder, `${image}.tar`))
  const cluster = await bringUp({
    name,
    network: process.env.CLUSTER_NETWORK || undefined,
    release: kubernetesRelease(process.env.KUBERNETES),
    checkout: ROOT,
    images: images.filter((path) => existsSync(path)),
    say,
  })
  await link('cluster', cluster.layout.folder)
  await link('kubectl', cluster.kubectl)
  await link('helm', cluster.helm)
  say(`${name} ${cluster.wasUp ? 'was up already' : 'is up'}. To use it:`)
  say(`  export KUBECONFIG=${join(LINK, 'kubeconfig')} PATH=${join(ROOT, '.tools')}:$PATH`)
}

async function down(): Promise<void> {
  await takeDown(name)
  if (linked() === name) rmSync(LINK)
  say(`${name} is down`)
}

/** The cluster that .tools/cluster points to. */
function linked(): string | undefined {
  try {
    const target = readlinkSync(LINK)
    return target.startsWith(stateRoot()) ? basename(target) : undefined
  } catch {
    return undefined
  }
}

await runMain(async () => {
  const [verb] = process.argv.slice(2)
  if (verb === 'up') return up()
  if (verb === 'down') return down()
  throw new Error('usage: cluster.ts up|down')
})
