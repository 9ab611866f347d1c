/**
 * Brings a test cluster up: one node in namespaces of its own, from the pinned programs in the user's cache.
 * In: who asks, and what for. Out: where the cluster is. What fails on the way is taken down again.
 */
import { spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Missing } from '../tools/missing.ts'
import { run } from '../tools/run.ts'
import { type Cluster, clusterOf } from './cluster.ts'
import { componentScripts } from './components.ts'
import { configFiles } from './config.ts'
import { importImage } from './containerd.ts'
import { takeDown } from './down.ts'
import { connect, makeCgroups, routes } from './host.ts'
import { freeNetwork, type Layout, layoutOf, NETWORKS, NODE_NAME } from './layout.ts'
import { whyNoCluster } from './machine.ts'
import { type AllPrograms, bringPrograms } from './programs.ts'
import { settle, waitFor } from './settle.ts'
import {
  claim,
  clusterNames,
  identify,
  isAlive,
  type ProcessId,
  readState,
  type State,
  stateRoot,
  writeState,
} from './state.ts'

export interface UpOptions {
  readonly name: string
  /** Undefined: the first that is free. */
  readonly network: string | undefined
  readonly release: string
  readonly checkout: string
  /** Archives to import. */
  readonly images: readonly string[]
  /** A process with whose end, however that comes, the cluster goes. */
  readonly owner?: number
  readonly say: (line: string) => void
}

/** Brings it up, or finds it up. Throws Missing where this machine, or another checkout, stands in the way. */
export async function bringUp(options: UpOptions): Promise<Cluster> {
  const why = whyNoCluster()
  if (why !== undefined) throw new Missing(why)
  const { name, release, checkout } = options
  const folder = join(stateRoot(), name)
  const state = readState(folder)
  const there = state !== undefined && (isAlive(state.node) || isAlive(state.keeper))
  if (there && state.checkout !== checkout) throw new Missing(inUse(state))
  if (there && state.isUp === true && isAlive(state.node) && state.release === release)
    return clusterOf(
      layoutOf(stateRoot(), name, state.network),
      await bringPrograms(release),
      state.node,
      true,
    )
  if (there && state.isUp !== true && isAlive(state.keeper) && state.node === undefined)
    throw new Missing(`The cluster ${name} is being brought up by process ${state.keeper.pid}.`)
  await takeDown(name)
  const network = await chooseNetwork(options.network)
  const programs = await bringPrograms(release)
  const layout = layoutOf(stateRoot(), name, network)
  const self = identify(process.pid) as ProcessId
  const fresh: State = { name, network, release, checkout, keeper: self }
  if (!claim(folder, fresh))
    throw new Missing(`The cluster ${name} is being brought up by somebody else.`)
  if (options.owner !== undefined) goWith(options.owner, name)
  try {
    const node = await start(layout, fresh, programs)
    const cluster = clusterOf(layout, programs, node, false)
    await settle(cluster, { ...options, programs })
    writeState(folder, { ...(readState(folder) ?? fresh), isUp: true })
    return cluster
  } catch (error) {
    options.say(`${name}: failed; the logs were in ${folder}/logs`)
    if (process.env.KEEP === undefined) await takeDown(name)
    throw error
  }
}

/** Imports archives into a cluster of this checkout; false: it is not up. */
export async function importIntoRunning(
  name: string,
  checkout: string,
  archives: readonly string[],
): Promise<boolean> {
  const state = readState(join(stateRoot(), name))
  if (state?.checkout !== checkout || !isAlive(state.node)) return false
  const { containerd } = await bringPrograms(state.release)
  for (const archive of archives)
    await importImage(state.node.pid, join(containerd, 'ctr'), archive)
  return true
}

/** A process of its own waits for the owner's end, since that may be SIGKILL. */
function goWith(owner: number, name: string): void {
  const script = join(import.meta.dirname, '../cluster.ts')
  const wait = 'tail --pid="$1" -f /dev/null; exec "$2" "$3" down'
  const child = spawn('sh', ['-c', wait, 'sh', String(owner), process.execPath, script], {
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, CLUSTER: name },
  })
  child.unref()
}

function inUse({ name, checkout }: State): string {
  return `The cluster ${name} belongs to ${checkout}: choose another name (CLUSTER=…), or take that one down (make cluster-down there).`
}

async function chooseNetwork(asked: string | undefined): Promise<string> {
  const claimed = clusterNames().flatMap((name) => {
    const network = readState(join(stateRoot(), name))?.network
    return network === undefined ? [] : [`${network}.0.0/16`]
  })
  const taken = [...(await routes()), ...claimed]
  const network = freeNetwork(asked === undefined ? NETWORKS : [asked], taken)
  if (network !== undefined) return network
  const which =
    asked === undefined ? `${NETWORKS.at(-1)}.0.0 to ${NETWORKS[0]}.255.255` : `${asked}.0.0/16`
  throw new Missing(
    `This machine already has routes into ${which}: choose a free /16 (CLUSTER_NETWORK=10.42).`,
  )
}

/** Writes all files, starts the node and links it to the machine. */
async function start(layout: Layout, state: State, programs: AllPrograms): Promise<ProcessId> {
  const { folder } = layout
  for (const below of [
    'components',
    'kubeconfigs',
    'logs',
    'pids',
    'stopped',
    'cni',
    'etcd',
    'containerd',
  ])
    mkdirSync(join(folder, below))
  // The store of etcd wants to be its own alone.
  chmodSync(join(folder, 'etcd'), 0o700)
  for (const [name, text] of configFiles(layout, programs, state.release))
    writeFileSync(join(folder, name), text)
  for (const [name, text] of componentScripts(layout, programs))
    writeFileSync(join(folder, 'components', name), text, { mode: 0o755 })
  await makeCertificates(layout, programs)
  makeCgroups(layout)
  const keeper = spawnNode(layout)
  writeState(folder, { ...state, keeper })
  const node = await childOf(keeper)
  writeState(folder, { ...state, keeper, node })
  await connect(layout, node.pid)
  return node
}

async function makeCertificates({ folder }: Layout, { kubernetes }: AllPrograms): Promise<void> {
  const kubeadm = join(kubernetes, 'kubeadm')
  const config = ['--config', join(folder, 'kubeadm.yaml')]
  const kubeconfigs = join(folder, 'kubeconfigs')
  await run(kubeadm, ['init', 'phase', 'certs', 'all', ...config])
  await run(kubeadm, [
    'init',
    'phase',
    'kubeconfig',
    'all',
    ...config,
    '--kubeconfig-dir',
    kubeconfigs,
  ])
  const user = ['--client-name', 'system:kube-proxy', '--validity-period', '720h']
  const proxy = await run(kubeadm, ['kubeconfig', 'user', ...config, ...user])
  writeFileSync(join(kubeconfigs, 'kube-proxy.conf'), proxy, { mode: 0o600 })
  // The one that may do everything, before any binding is there.
  copyFileSync(join(kubeconfigs, 'super-admin.conf'), join(folder, 'kubeconfig'))
}

function spawnNode({ folder, nodeAddress, hostAddress }: Layout): ProcessId {
  const namespaces = ['--mount', '--net', '--pid', '--uts', '--ipc']
  const how = ['--fork', '--kill-child', '--mount-proc', '--propagation', 'private']
  const script = join(import.meta.dirname, 'node.sh')
  const args = [script, folder, nodeAddress, hostAddress, NODE_NAME]
  const log = openSync(join(folder, 'logs/node.log'), 'a')
  const child = spawn('unshare', [...namespaces, ...how, 'sh', ...args], {
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  child.unref()
  const id = child.pid === undefined ? undefined : identify(child.pid)
  if (id === undefined) throw new Error('unshare did not start')
  return id
}

async function childOf(keeper: ProcessId): Promise<ProcessId> {
  const children = `/proc/${keeper.pid}/task/${keeper.pid}/children`
  return waitFor('pid 1 of the node', async () => {
    const [pid] = readFileSync(children, 'utf8').split(' ')
    return pid === undefined || pid === '' ? undefined : identify(Number(pid))
  })
}
