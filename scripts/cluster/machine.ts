/**
 * Whether this machine can have a test cluster at all. In: nothing. Out: one sentence that says what is missing, or
 * undefined. What it tries leaves nothing behind.
 */
import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { hierarchies } from './host.ts'

/** Undefined: it can. */
export function whyNoCluster(): string | undefined {
  if (process.getuid?.() !== 0)
    return 'A test cluster needs root, for namespaces, mounts and cgroups: run it as root (sudo make cluster), or on a machine where you are.'
  const all = ['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', '--mount-proc']
  if (!canRun('unshare', [...all, 'true']))
    return 'A test cluster needs util-linux and the right to make namespaces and to mount /proc; this root has not (a container without --privileged?).'
  if (!canRun('ip', ['-Version'])) return 'A test cluster needs ip: install iproute2.'
  const closed = hierarchies().find(({ path }) => !isWritable(path))
  if (closed !== undefined)
    return `A test cluster needs to write cgroups; ${closed.path} is closed.`
  if (hierarchies().length === 0) return 'A test cluster needs cgroups; none are mounted.'
  return undefined
}

function canRun(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}
