/**
 * A test cluster that is there, and what can be done with it. In: its layout, programs and pid 1. Out: the handle.
 */
import { join } from 'node:path'
import { importImage } from './containerd.ts'
import { startComponent, stopComponent } from './control.ts'
import type { Layout } from './layout.ts'
import type { AllPrograms } from './programs.ts'
import type { ProcessId } from './state.ts'

export interface Cluster {
  readonly layout: Layout
  readonly kubeconfig: string
  readonly kubectl: string
  readonly helm: string
  /** Puts an archive among the node's images. */
  importImage(archive: string): Promise<void>
  /** Kills a component of the cluster (`kube-apiserver`) and keeps it down. */
  stop(component: string): Promise<void>
  start(component: string): void
  /** It was up before. */
  readonly wasUp: boolean
}

export function clusterOf(
  layout: Layout,
  programs: AllPrograms,
  node: ProcessId,
  wasUp: boolean,
): Cluster {
  const ctr = join(programs.containerd, 'ctr')
  return {
    layout,
    wasUp,
    kubeconfig: join(layout.folder, 'kubeconfig'),
    kubectl: join(programs.kubernetes, 'kubectl'),
    helm: programs.helm,
    importImage: (archive) => importImage(node.pid, ctr, archive),
    stop: (component) => stopComponent(layout.folder, node.pid, component),
    start: (component) => startComponent(layout.folder, component),
  }
}
