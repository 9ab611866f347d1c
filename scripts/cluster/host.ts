/**
 * What a test cluster has outside its own namespaces: a link with two routes, and empty cgroups above those of its pods.
 * Everything is found and removed by the cluster's name, so also after a crash.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../tools/run.ts'
import type { Layout } from './layout.ts'

/** Destinations of the machine's IPv4 routes, without the default one. */
export async function routes(): Promise<string[]> {
  const listed = (await run('ip', ['-4', 'route', 'show', 'table', 'all'])).toString()
  return listed
    .split('\n')
    .map((line) => line.replace(/^(?:local|broadcast|unicast|blackhole) /, '').split(' ')[0] ?? '')
    .filter((destination) => /^\d/.test(destination))
}

/** Links the machine to the network namespace of `pid`, and routes pods and services there. */
export async function connect(layout: Layout, pid: number): Promise<void> {
  const { interface: own, hostAddress, nodeAddress } = layout
  const peer = ['peer', 'name', 'eth0', 'netns', String(pid)]
  await run('ip', ['link', 'add', own, 'type', 'veth', ...peer])
  await run('ip', ['address', 'add', `${hostAddress}/24`, 'dev', own])
  await run('ip', ['link', 'set', own, 'up'])
  for (const network of [layout.podNetwork, layout.serviceNetwork])
    await run('ip', ['route', 'add', network, 'via', nodeAddress])
}

/** The routes go with the link. The kernel removes it, too, some time after the namespace has ended. */
export async function disconnect(layout: Layout): Promise<void> {
  await run('ip', ['link', 'delete', layout.interface]).catch((error: Error) => {
    if (existsSync(`/sys/class/net/${layout.interface}`)) throw error
  })
}

export interface Hierarchy {
  readonly path: string
  readonly controllers: readonly string[]
  readonly isUnified: boolean
}

/** Where cgroups are mounted, out of the text of /proc/self/mountinfo (proc(5)). A hybrid machine has both kinds. */
export function hierarchiesIn(mountinfo: string): Hierarchy[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [mount = '', filesystem = ''] = line.split(' - ')
    const [type = '', , options = ''] = filesystem.split(' ')
    if (type !== 'cgroup' && type !== 'cgroup2') return []
    const path = mount.split(' ')[4] ?? ''
    return [{ path, controllers: options.split(','), isUnified: type === 'cgroup2' }]
  })
}

/** Those of this machine. */
export function hierarchies(): Hierarchy[] {
  return hierarchiesIn(readFileSync('/proc/self/mountinfo', 'utf8'))
}

export function makeCgroups({ cgroup }: Layout): void {
  for (const { path, controllers, isUnified } of hierarchies()) {
    const folder = join(path, cgroup)
    mkdirSync(folder, { recursive: true })
    // A child of cpuset starts empty, and takes no process until it is filled.
    if (!isUnified && controllers.includes('cpuset'))
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        writeFileSync(join(folder, file), readFileSync(join(path, file)))
  }
}

/** Whether all of them are gone; false while the kernel still counts an ended process in one. */
export function removeCgroups({ cgroup }: Layout): boolean {
  return hierarchies().every(({ path }) => removeTree(join(path, cgroup)))
}

/** A cgroup is removed by rmdir, from the leaves up; the files in it are the kernel's. */
function removeTree(folder: string): boolean {
  if (!existsSync(folder)) return true
  const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  if (!below.map(({ name }) => removeTree(join(folder, name))).every(Boolean)) return false
  try {
    rmdirSync(folder)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false
    throw error
  }
}
