/**
 * The programs of a test cluster, brought into the user's cache. In: a release of Kubernetes. Out: where each is.
 */
import { join } from 'node:path'
import { bring, bringNft, bringRunc } from '../tools/bring.ts'
import { clusterTools } from '../tools/catalog-cluster.ts'
import type { Programs } from './config.ts'

export interface AllPrograms extends Programs {
  readonly coredns: string
  readonly pause: string
  readonly helm: string
}

/** What is not in the cache is built: some ten minutes, once. */
export async function bringPrograms(release: string): Promise<AllPrograms> {
  const folders: Record<string, string> = {}
  for (const tool of clusterTools(release)) folders[tool.name] = await bring(tool)
  const folder = (name: string) => folders[name] ?? ''
  return {
    kubernetes: folder('kubernetes'),
    etcd: folder('etcd'),
    containerd: folder('containerd'),
    cni: folder('cni-plugins'),
    coredns: join(folder('coredns'), 'coredns'),
    pause: join(folder('pause'), 'pause'),
    helm: join(folder('helm'), 'helm'),
    runc: await bringRunc(),
    nft: await bringNft(),
  }
}
