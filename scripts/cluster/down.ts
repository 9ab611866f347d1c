/**
 * Takes a test cluster down, in whatever state it is: up, half up, or dead. Afterwards there is no process, mount,
 * interface, route, cgroup or folder of it. Only the node's own namespace is signalled, by a pid that is checked.
 */
import { readFileSync, rmSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { disconnect, removeCgroups } from './host.ts'
import { type Layout, layoutOf, NETWORKS } from './layout.ts'
import { isAlive, type ProcessId, readState, stateRoot } from './state.ts'

const PATIENCE_MS = 30_000

/** Throws when something stays. Nothing there is nothing to do. */
export async function takeDown(name: string): Promise<void> {
  const layout = layoutOf(stateRoot(), name, NETWORKS[0] ?? '')
  const state = readState(layout.folder)
  // Its end kills pid 1 of the node, and that ends all the rest (unshare --kill-child).
  for (const process_ of [state?.keeper, state?.node])
    if (process_ !== undefined && process_.pid !== process.pid) await end(process_)
  await disconnect(layout)
  await until(() => removeCgroups(layout), `cgroups of ${layout.cgroup} are still in use`)
  removeFolder(layout)
}

async function end(process_: ProcessId): Promise<void> {
  if (!isAlive(process_)) return
  process.kill(process_.pid, 'SIGKILL')
  await until(() => !isAlive(process_), `process ${process_.pid} does not end`)
}

/** Never across a mount: there should be none left, and if there is, it may show something of the machine's. */
function removeFolder({ folder }: Layout): void {
  const mounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${folder}/`)
  if (mounted) throw new Error(`something is mounted below ${folder}: unmount it first`)
  rmSync(folder, { recursive: true, force: true })
}

async function until(condition: () => boolean, otherwise: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(otherwise)
    await pause(50)
  }
}
