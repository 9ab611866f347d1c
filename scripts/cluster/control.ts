/**
 * Takes single components of a running test cluster away, and gives them back: for trials of what happens without them.
 * In: the cluster's folder and pid 1 of its node. Pid 1 (node.sh) starts again what is not held down.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../tools/run.ts'

/** Ends a component (`kube-apiserver`, `kubelet`, …) by SIGKILL, and keeps it down. */
export async function stopComponent(folder: string, node: number, name: string): Promise<void> {
  writeFileSync(join(folder, 'stopped', name), '')
  // Its pid is that of the node's namespace.
  const pid = readFileSync(join(folder, 'pids', name), 'utf8').trim()
  await run('nsenter', ['--target', String(node), '--pid', '--mount', 'kill', '-KILL', pid])
}

/** Lets it run again; it is back within a second, and ready when it says so. */
export function startComponent(folder: string, name: string): void {
  rmSync(join(folder, 'stopped', name), { force: true })
}
