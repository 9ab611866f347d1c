/**
 * A real Kubernetes for the tests in test/cluster: one for all files of a run, or one for the file when that runs alone.
 * It goes with the run, however that ends. Needs root; `whyNoCluster` of scripts/cluster says what is missing, for a loud skip.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Cluster } from '../../scripts/cluster/cluster.ts'
import { takeDown } from '../../scripts/cluster/down.ts'
import { bringUp } from '../../scripts/cluster/up.ts'
import { type Built, buildImages } from '../../scripts/images/build.ts'
import { kubernetesRelease } from '../../scripts/tools/kubernetes.ts'
import { run } from '../../scripts/tools/run.ts'

const ROOT = join(import.meta.dirname, '../..')

export interface TestCluster extends Cluster {
  /** The images of this checkout, which the node has. */
  readonly images: Readonly<Record<string, Built>>
  /** Runs kubectl and returns what it printed. */
  ask(args: readonly string[], stdin?: string): Promise<string>
}

/** Brings the cluster up, or finds the one of this run, with Postern's images. */
export async function useCluster(t: Pick<Test, 'teardown' | 'comment'>): Promise<TestCluster> {
  const shared = process.env.POSTERN_TEST_CLUSTER
  const name = shared ?? `t${process.pid}`
  const folder = mkdtempSync(join(ROOT, '.tools/images-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const built = await buildImages(ROOT, folder)
  if (shared === undefined) t.teardown(() => takeDown(name))
  const cluster = await bringUp({
    name,
    network: undefined,
    release: kubernetesRelease(process.env.KUBERNETES),
    checkout: ROOT,
    images: built.map(({ path }) => path),
    owner: Number(name.slice(1)),
    say: (line) => t.comment(line),
  })
  return {
    ...cluster,
    images: Object.fromEntries(built.map((image) => [image.name, image])),
    ask: async (args, stdin) => {
      const all = ['--kubeconfig', cluster.kubeconfig, ...args]
      const options = stdin === undefined ? {} : { stdin: Buffer.from(stdin) }
      return (await run(cluster.kubectl, all, options)).toString()
    },
  }
}
