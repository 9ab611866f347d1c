/**
 * Postern's images in a real cluster: they start as the restricted Pod Security level wants them, as nobody in
 * particular, on a read-only root, and there is nothing in them to break out with.
 */
import { t } from 'tap'
import { whyNoCluster } from '../../scripts/cluster/machine.ts'
import { useCluster } from '../kit/cluster.ts'
import { waitFor } from '../kit/wait.ts'

const why = whyNoCluster()

/** Asked of Node in the pod; prints one JSON line. */
const LOOK = `
const fs = require('node:fs')
const tried = (work) => { try { work(); return 'done' } catch (error) { return error.code } }
const status = fs.readFileSync('/proc/self/status', 'utf8')
console.log(JSON.stringify({
  uid: process.getuid(),
  gid: process.getgid(),
  capabilities: /^CapEff:\\s*(\\w+)/m.exec(status)[1],
  root: tried(() => fs.writeFileSync('/postern/x', '')),
  temp: tried(() => fs.writeFileSync('/tmp/x', '')),
  shells: ['/bin/sh', '/bin/bash', '/usr/bin/sh', '/bin/busybox', '/usr/bin/npm', '/usr/bin/apt']
    .filter((path) => fs.existsSync(path)),
}))`

const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
}

function pod(namespace: string, name: string, container: object, init?: object): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      ...(init === undefined ? {} : { initContainers: [init] }),
      containers: [{ name: 'main', imagePullPolicy: 'Never', ...container }],
    },
  })
}

t.test('images', { skip: why ?? false }, async (t) => {
  const cluster = await useCluster(t)
  const { ask } = cluster
  const image = (name: string) => cluster.images[name]?.reference.replace('docker.io/', '') ?? ''
  const said = async (namespace: string, name: string) => {
    const phase = () =>
      ask(['get', 'pod', '-n', namespace, name, '--output=jsonpath={.status.phase}'])
    const ended = async () => /Succeeded|Failed/.test(await phase())
    await waitFor(ended, { what: `the end of ${name}`, signal: AbortSignal.timeout(60_000) })
    return ask(['logs', '-n', namespace, '--all-containers', name])
  }
  for (const [namespace, level] of [
    ['images', 'restricted'],
    ['images-init', 'privileged'],
  ] as const) {
    await ask(['create', 'namespace', namespace])
    await ask(['label', 'namespace', namespace, `pod-security.kubernetes.io/enforce=${level}`])
  }
  t.teardown(() => ask(['delete', 'namespace', 'images', 'images-init', '--wait=false']))
  // Pods are refused until the namespace has its service account.
  for (const namespace of ['images', 'images-init'])
    await ask(['wait', '-n', namespace, '--for=create', 'serviceaccount/default', '--timeout=30s'])

  await t.test('the controller’s says its version, as its entry point', async (t) => {
    const container = { image: image('controller'), args: ['version'], securityContext: RESTRICTED }
    await ask(['apply', '-f', '-'], pod('images', 'version', container))
    t.match(await said('images', 'version'), /^postern \d+\.\d+\.\d+(?:-[a-z]+)? \(node 26\./)
  })

  for (const name of ['controller', 'sidecar'])
    await t.test(`the ${name}’s runs as nobody, on a root that is read-only`, async (t) => {
      const command = ['/usr/bin/node', '-e', LOOK]
      const container = { image: image(name), command, securityContext: RESTRICTED }
      await ask(['apply', '-f', '-'], pod('images', `look-${name}`, container))
      t.same(JSON.parse(await said('images', `look-${name}`)), {
        uid: 1337,
        gid: 1337,
        capabilities: '0000000000000000',
        root: 'EROFS',
        temp: 'EROFS',
        shells: [],
      })
    })

  await t.test('OPA, Envoy, setpriv and flock start', async (t) => {
    const programs = [
      ['controller', '/usr/bin/opa', 'version', /^Version: 1\./],
      ['sidecar', '/usr/bin/envoy', '--version', /\/1\.\d+\.\d+\/Clean\/RELEASE/],
      ['sidecar', '/usr/bin/setpriv', '--version', /util-linux/],
      ['controller', '/usr/bin/flock', '--version', /util-linux/],
    ] as const
    for (const [of, path, flag, expected] of programs) {
      const name = `start-${path.slice(path.lastIndexOf('/') + 1)}`
      const container = { image: image(of), command: [path, flag], securityContext: RESTRICTED }
      await ask(['apply', '-f', '-'], pod('images', name, container))
      t.match(await said('images', name), expected)
    }
  })

  await t.test('init loads rules with NET_ADMIN alone, again and again', async (t) => {
    const rules = 'table inet postern {\nchain c {\ntype nat hook output priority -100\n}\n}'
    const securityContext = {
      ...RESTRICTED,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
      runAsNonRoot: false,
    }
    const common = { image: image('init'), imagePullPolicy: 'Never', securityContext }
    const load = `table inet postern\ndelete table inet postern\n${rules}`
    const init = { ...common, name: 'load', args: [load] }
    const again = { ...common, args: [`${load}\nlist table inet postern`] }
    await ask(['apply', '-f', '-'], pod('images-init', 'rules', again, init))
    t.match(await said('images-init', 'rules'), /type nat hook output priority -100;/)
  })
})
