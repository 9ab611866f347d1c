/**
 * Brings a test cluster up: one node in namespaces of its own, from the pinned programs in the user's cache.
 * In: who asks, and what for. Out: where the cluster is. What fails on the way is taken down again.
 */
import { spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Missing } from '../tools/missing.ts'
import { RunError, run } from '../tools/run.ts'
import { componentScripts } from './components.ts'
import { configFiles } from './config.ts'
import { importImage, packOwnImages } from './containerd.ts'
import { startComponent, stopComponent } from './control.ts'
import { takeDown } from './down.ts'
import { connect, makeCgroups, routes } from './host.ts'
import { freeNetwork, type Layout, layoutOf, NETWORKS, NODE_NAME } from './layout.ts'
import { type AllPrograms, bringPrograms } from './programs.ts'
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

const PATIENCE_MS = 120_000

/** Brings it up, or finds it up. Throws Missing where this machine, or another checkout, stands in the way. */
export async function bringUp(options: UpOptions): Promise<Cluster> {
  await checkMachine()
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
    await settle(cluster, layout, { ...options, programs })
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

async function checkMachine(): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new Missing(
      'A test cluster needs root: it makes namespaces, mounts and cgroups. Run it as root (sudo make cluster), or on a machine where you are.',
    )
  try {
    await run('unshare', ['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', 'true'])
    await run('ip', ['-Version'])
  } catch (error) {
    const why = error instanceof RunError ? error.message.split('\n').at(-1) : String(error)
    throw new Missing(
      `A test cluster needs util-linux, iproute2 and the right to make namespaces; here: ${why}`,
    )
  }
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

/** Waits until pods run and names resolve. */
async function settle(
  cluster: Cluster,
  layout: Layout,
  { images, programs, say }: UpOptions & { readonly programs: AllPrograms },
): Promise<void> {
  const since = performance.now()
  const told = (what: string) =>
    say(`${((performance.now() - since) / 1000).toFixed(1).padStart(5)} s  ${what}`)
  const imported = importAll(cluster, layout, { images, programs })
  imported.catch(() => {}) // it is told below, when it is waited for
  const kubectl = (...args: string[]) =>
    run(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, ...args])
  await waitFor('the API server', () => kubectl('get', '--raw', '/readyz').then(() => true))
  told('API server ready')
  const manifest = readFileSync(join(import.meta.dirname, 'addons.yaml'), 'utf8')
  await run(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, 'apply', '-f', '-'], {
    stdin: Buffer.from(manifest.replace('DNS_ADDRESS', layout.dnsAddress)),
  })
  await waitFor('the node', () =>
    kubectl('wait', '--for=condition=Ready', `node/${NODE_NAME}`, '--timeout=60s').then(() => true),
  )
  told('node ready')
  await imported
  told('images imported')
  await kubectl(
    '--namespace=kube-system',
    'rollout',
    'status',
    'deployment/coredns',
    '--timeout=120s',
  )
  told('names resolve')
}

async function importAll(
  cluster: Cluster,
  { folder }: Layout,
  { images, programs }: { readonly images: readonly string[]; readonly programs: AllPrograms },
): Promise<void> {
  const own = await packOwnImages(join(folder, 'images'), programs)
  await waitFor('containerd', async () => existsSync(join(folder, 'containerd.sock')) || undefined)
  for (const archive of [...own, ...images]) await cluster.importImage(archive)
}

function clusterOf(
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
    helm: join(dirname(programs.helm), 'helm'),
    importImage: (archive) => importImage(node.pid, ctr, archive),
    stop: (component) => stopComponent(layout.folder, node.pid, component),
    start: (component) => startComponent(layout.folder, component),
  }
}

/** Polls until there is a value; what is thrown meanwhile is the reason when time is up. */
async function waitFor<T>(what: string, get: () => Promise<T | undefined>): Promise<T> {
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
