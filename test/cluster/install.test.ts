/**
 * The chart in a real cluster: helm install, a labelled namespace, a plain Deployment whose pods are injected and come up; what
 * would go around it is refused; without controllers nothing unguarded starts, and kube-system lives on; helm uninstall
 * leaves what charts/postern/README.md names.
 */
import { join } from 'node:path'
import { t } from 'tap'
import { whyNoCluster } from '../../scripts/cluster/machine.ts'
import { run } from '../../scripts/tools/run.ts'
import { useCluster } from '../kit/cluster.ts'
import { waitFor } from '../kit/wait.ts'

const why = whyNoCluster()
const CHART = join(import.meta.dirname, '../../charts/postern')
const SYSTEM = 'postern-system'
const NS = 'install-shop'

t.test('install', { skip: why ?? false }, async (t) => {
  const { ask, helm, kubeconfig, images } = await useCluster(t)
  const nodeImage = images.controller?.reference ?? ''
  const helmDo = (...args: readonly string[]) =>
    run(helm, [...args, '--kubeconfig', kubeconfig, '--namespace', SYSTEM]).then(String)
  const apply = (object: object) => ask(['apply', '-f', '-'], JSON.stringify(object))
  const refused = (object: object) =>
    apply(object).then(
      () => 'made',
      (error: Error) => error.message,
    )
  t.teardown(async () => {
    await ask(['delete', 'namespace', NS, SYSTEM, '--wait=false', '--ignore-not-found'])
  })

  const app = { name: 'app', image: nodeImage, imagePullPolicy: 'Never' }
  const server =
    'require("node:http").createServer((q,r)=>r.end("ok")).listen(8080);process.on("SIGTERM",()=>process.exit(0))'
  const podSpec = {
    containers: [
      {
        ...app,
        command: ['/usr/bin/node', '-e', server],
        ports: [{ name: 'http', containerPort: 8080 }],
        readinessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 1 },
      },
    ],
  }
  const pod = (name: string, spec: object = podSpec, labels = {}, namespace = NS) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels },
    spec,
  })
  const deployment = (name: string) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: NS },
    spec: {
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: podSpec },
    },
  })

  await t.test('helm install, label, deploy', async (t) => {
    const values = ['--set', 'image.pullPolicy=Never', '--wait', '--timeout', '3m']
    const notes = await helmDo('install', 'postern', CHART, '--create-namespace', ...values)
    t.match(notes, /kubectl label namespace NAME postern\.dev\/inject=enabled/)
    await ask(['create', 'namespace', NS])
    await ask(['label', 'namespace', NS, 'postern.dev/inject=enabled'])
    await ask(['wait', '-n', NS, '--for=create', 'configmap/postern-ca-roots', '--timeout=30s'])
    const works = async () => (await refused(pod('probe'))) === 'made'
    await waitFor(works, { what: 'a webhook that is trusted', signal: AbortSignal.timeout(30_000) })
    await apply(deployment('orders'))
    await ask(['rollout', 'status', '-n', NS, 'deployment/orders', '--timeout=90s'])
    const path = '{.items[0].spec.initContainers[*].name}'
    const names = await ask([
      'get',
      'pods',
      '-n',
      NS,
      '-l',
      'app=orders',
      `--output=jsonpath=${path}`,
    ])
    t.equal(names, 'postern-init postern-sidecar')
  })

  await t.test('what would go around it', async (t) => {
    const fake = {
      initContainers: [{ ...app, name: 'postern-sidecar', restartPolicy: 'Always' }],
      ...podSpec,
    }
    t.match(
      await refused(pod('poses', fake, { 'postern.dev/inject': 'disabled' })),
      /give the container another name/,
    )
    t.match(
      await refused(pod('named', { containers: [{ ...app, name: 'postern-sidecar' }] })),
      /the name postern-sidecar is Postern's/,
    )
    const mesh = {
      apiVersion: 'postern.dev/v1alpha1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace: NS },
    }
    t.match(
      await refused({
        ...mesh,
        spec: { rego: { module: 'package a\nallow if x.y', entrypoint: 'a/allow' } },
      }),
      /ERR_REGO_COMPILE/,
    )
    const image = JSON.stringify({
      spec: { initContainers: [{ name: 'postern-sidecar', image: 'example.com/fake:1' }] },
    })
    await t.rejects(ask(['patch', 'pod', 'probe', '-n', NS, '-p', image]), /can't be exchanged/)
    await ask(['label', 'pod', 'probe', '-n', NS, 'other=change'])
    const debug = {
      ...app,
      name: 'debug',
      volumeMounts: [{ name: 'postern-state', mountPath: '/s' }],
    }
    const patch = JSON.stringify({ spec: { ephemeralContainers: [debug] } })
    const args = [
      'patch',
      'pod',
      'probe',
      '-n',
      NS,
      '--subresource=ephemeralcontainers',
      '-p',
      patch,
    ]
    await t.rejects(ask(args), /the sidecar's alone/)
  })

  await t.test('without controllers', async (t) => {
    await ask(['scale', '-n', SYSTEM, 'deployment/postern-controller', '--replicas=0'])
    await ask([
      'wait',
      '-n',
      SYSTEM,
      '--for=delete',
      'pod',
      '-l',
      'app.kubernetes.io/name=postern',
      '--timeout=60s',
    ])
    t.match(await refused(pod('while-down')), /inject\.postern\.dev/)
    t.equal(await refused(pod('opted-out', podSpec, { 'postern.dev/inject': 'disabled' })), 'made')
    await ask(['label', 'namespace', 'kube-system', 'postern.dev/inject=enabled', '--overwrite'])
    t.teardown(() => ask(['label', 'namespace', 'kube-system', 'postern.dev/inject-']))
    const args = ['--dry-run=server', '-f', '-']
    const system = JSON.stringify(pod('system', podSpec, {}, 'kube-system'))
    t.match(await ask(['create', ...args], system), /created/)
    // The policy needs no webhook.
    const webhook = JSON.stringify({
      webhooks: [{ name: 'inject.postern.dev', failurePolicy: 'Ignore' }],
    })
    await ask(['patch', 'mutatingwebhookconfiguration', 'postern-injector', '-p', webhook])
    t.match(await refused(pod('unguarded')), /guarded by Postern.*no sidecar of it/s)
    await ask(['scale', '-n', SYSTEM, 'deployment/postern-controller', '--replicas=2'])
    await ask(['rollout', 'status', '-n', SYSTEM, 'deployment/postern-controller', '--timeout=90s'])
  })

  await t.test('helm uninstall', async (t) => {
    await helmDo('uninstall', 'postern', '--wait', '--timeout', '2m')
    const kinds = 'deployment,service,serviceaccount,role,rolebinding,pdb,networkpolicy'
    const left = await ask([
      'get',
      kinds,
      '-n',
      SYSTEM,
      '--output=name',
      '-l',
      'app.kubernetes.io/instance=postern',
    ])
    t.equal(left, '')
    const wide =
      'mutatingwebhookconfiguration,validatingwebhookconfiguration,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,meshes,certificateauthorities'
    const cluster = await ask(['get', wide, '--output=name'])
    t.notMatch(cluster, /postern/)
    t.match(await ask(['get', 'crd', '--output=name']), /meshes\.postern\.dev/)
    t.match(await ask(['get', 'secret', '-n', SYSTEM, '--output=name']), /postern-ca/)
    t.match(await ask(['get', 'pods', '-n', NS, '-l', 'app=orders']), /2\/2 +Running/)
  })
})
