/**
 * A test cluster leaves nothing behind: taken down while it is up, and after its parent was killed.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { t } from 'tap'
import { takeDown } from '../../scripts/cluster/down.ts'
import { hierarchiesIn } from '../../scripts/cluster/host.ts'
import { whyNoCluster } from '../../scripts/cluster/machine.ts'
import { identify, readState } from '../../scripts/cluster/state.ts'
import { bringUp } from '../../scripts/cluster/up.ts'
import { DEFAULT_KUBERNETES } from '../../scripts/tools/kubernetes.ts'
import { run } from '../../scripts/tools/run.ts'
import { waitFor } from '../kit/wait.ts'

const why = whyNoCluster()
const name = `d${process.pid}`

/** All that can be seen of the cluster from outside it. */
async function traces(folder: string): Promise<string[]> {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
  const cgroups = hierarchiesIn(mounts).map(({ path }) => join(path, `postern-${name}`))
  const seen = [
    ...[folder, ...cgroups].filter((path) => existsSync(path)),
    ...mounts.split('\n').filter((line) => line.includes(folder)),
    ...(await run('ip', ['-o', 'link'])).toString().split('\n'),
    ...(await run('ip', ['route'])).toString().split('\n'),
  ]
  return seen.filter((line) => line.startsWith('/') || line.includes(`pn-${name}`))
}

/** Live processes in a pid namespace, as /proc/<pid>/ns/pid names it. */
function processesIn(namespace: string): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/pid`) === namespace
      } catch {
        return false // it has ended
      }
    })
}

t.test('down', { skip: why ?? false }, async (t) => {
  t.teardown(() => takeDown(name))
  const cluster = await bringUp({
    name,
    network: undefined,
    release: DEFAULT_KUBERNETES,
    checkout: import.meta.dirname,
    images: [],
    owner: process.pid,
    say: (line) => t.comment(line),
  })
  const { layout } = cluster
  const state = readState(layout.folder)
  const namespace = readlinkSync(`/proc/${state?.node?.pid}/ns/pid`)
  t.not(namespace, readlinkSync('/proc/self/ns/pid'))
  t.ok((await traces(layout.folder)).length > 3, 'it is seen while it is up')
  t.ok(processesIn(namespace).length > 10, 'its processes are seen')
  const marks = ['/var/lib/kubelet', '/var/lib/cni', '/var/log/containers', '/opt/containerd']
  t.same(
    marks.filter((path) => existsSync(path)),
    [],
    'the machine’s own folders are as they were',
  )

  await t.test('is refused to another checkout', async (t) => {
    const other = { ...layout, release: DEFAULT_KUBERNETES, checkout: '/elsewhere', images: [] }
    const say = () => {}
    await t.rejects(bringUp({ ...other, say }), { name: 'Missing', message: /belongs to/ })
  })

  await t.test('a component is taken away and given back', async (t) => {
    const isReady = () => {
      const args = ['--kubeconfig', cluster.kubeconfig, '--request-timeout=2s']
      return run(cluster.kubectl, [...args, 'get', '--raw', '/readyz']).then(
        () => true,
        () => false,
      )
    }
    t.equal(await isReady(), true)
    await cluster.stop('kube-apiserver')
    t.equal(await isReady(), false)
    cluster.start('kube-apiserver')
    const signal = AbortSignal.timeout(60_000)
    await waitFor(isReady, { what: 'the API server', signal })
  })

  await t.test('ends with its parent, and nothing of it stays', async (t) => {
    process.kill(state?.keeper.pid ?? 0, 'SIGKILL')
    const node = state?.node?.pid ?? 0
    await waitFor(() => identify(node) === undefined, { what: 'the end of the node' })
    await waitFor(() => processesIn(namespace).length === 0, { what: 'the end of its processes' })
    await takeDown(name)
    t.same(await traces(layout.folder), [])
    t.notOk(existsSync(layout.folder))
  })
})
