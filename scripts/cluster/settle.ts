/**
 * From a node that was just started to one on which pods run and names resolve.
 * In: the cluster and the archives to import. Out: nothing; throws with the reason of what does not come in two minutes.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { run } from '../tools/run.ts'
import type { Cluster } from './cluster.ts'
import { packOwnImages } from './containerd.ts'
import { NODE_NAME } from './layout.ts'
import type { AllPrograms } from './programs.ts'

const PATIENCE_MS = 120_000

export interface SettleOptions {
  readonly images: readonly string[]
  readonly programs: AllPrograms
  readonly say: (line: string) => void
}

/** Says how many seconds each step took since the node was started. */
export async function settle(cluster: Cluster, options: SettleOptions): Promise<void> {
  const since = performance.now()
  const told = (what: string) =>
    options.say(`${((performance.now() - since) / 1000).toFixed(1).padStart(5)} s  ${what}`)
  const own = importOwn(cluster, options.programs)
  const others = own.then(() => importAll(cluster, options.images))
  others.catch(() => {}) // it is told below, when it is waited for
  const kubectl = (args: readonly string[], stdin = '') =>
    run(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, ...args], {
      stdin: Buffer.from(stdin),
    }).then(() => true)
  await waitFor('the API server', () => kubectl(['get', '--raw', '/readyz']))
  told('API server ready')
  const isReady = ['wait', '--for=condition=Ready', `node/${NODE_NAME}`, '--timeout=60s']
  await waitFor('the node', () => kubectl(isReady))
  told('node ready')
  // Not before: a pod without its image is tried again only after ten seconds.
  await own
  const addons = readFileSync(join(import.meta.dirname, 'addons.yaml'), 'utf8')
  await kubectl(['apply', '-f', '-'], addons.replace('DNS_ADDRESS', cluster.layout.dnsAddress))
  const dns = ['--namespace=kube-system', 'deployment/coredns', '--timeout=120s']
  await kubectl(['rollout', 'status', ...dns])
  told('names resolve')
  await others
  if (options.images.length > 0) told('images imported')
}

async function importOwn(cluster: Cluster, programs: AllPrograms): Promise<void> {
  const { folder } = cluster.layout
  const archives = await packOwnImages(join(folder, 'images'), programs)
  await waitFor('containerd', async () => existsSync(join(folder, 'containerd.sock')) || undefined)
  await importAll(cluster, archives)
}

async function importAll(cluster: Cluster, archives: readonly string[]): Promise<void> {
  for (const archive of archives) await cluster.importImage(archive)
}

/** Polls until there is a value; what is thrown meanwhile is the reason when time is up. */
export async function waitFor<T>(what: string, get: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  for (let last: unknown; ; await pause(100)) {
    try {
      const value = await get()
      if (value !== undefined) return value
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline)
      throw new Error(`${what} is not there after ${PATIENCE_MS / 1000} s`, { cause: last })
  }
}
