/**
 * What is remembered of a test cluster: who started it, and which process is its node. A cluster is claimed by making
 * its folder, so that two never share a name. In, out: `<cache>/cluster/<name>/state.json`.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheRoot } from '../tools/cache.ts'

export interface State {
  readonly name: string
  readonly network: string
  /** The release of Kubernetes. */
  readonly release: string
  /** The checkout that brought it up. */
  readonly checkout: string
  /** The process that brings it up, or the node's `unshare`, the parent of its pid 1. */
  readonly keeper: ProcessId
  /** Pid 1 of the node, by its pid on the host. Absent: it is being brought up, or that was interrupted. */
  readonly node?: ProcessId
  readonly isUp?: boolean
}

/** A pid alone may mean another process by now. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks from boot to its start (proc(5), field 22). */
  readonly started: string
}

export function stateRoot(): string {
  return join(cacheRoot(process.env), 'cluster')
}

/** Names of all clusters that are there in any form. */
export function clusterNames(): string[] {
  try {
    return readdirSync(stateRoot())
  } catch {
    return []
  }
}

/** Undefined: no such cluster, or only the remains of one. */
export function readState(folder: string): State | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8')) as State
  } catch {
    return undefined
  }
}

/** Makes the cluster's folder; false: somebody has it. */
export function claim(folder: string, state: State): boolean {
  mkdirSync(stateRoot(), { recursive: true })
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
  writeState(folder, state)
  return true
}

export function writeState(folder: string, state: State): void {
  const path = join(folder, 'state.json')
  writeFileSync(`${path}.new`, JSON.stringify(state))
  renameSync(`${path}.new`, path)
}

/** Undefined: there is no such process. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const started = fields[18]
    return started === undefined || state === 'Z' ? undefined : { pid, started }
  } catch {
    return undefined
  }
}

/** Whether it is the same process, and not ended. */
export function isAlive(process: ProcessId | undefined): process is ProcessId {
  return process !== undefined && identify(process.pid)?.started === process.started
}
