/**
 * The webhooks as a real API server calls them, with a certificate of the mesh's authority whose root the leader writes into
 * the configurations: pods are injected or refused, objects are judged with field and remedy, Rego by the real OPA.
 */
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { pino } from 'pino'
import t from 'tap'
import { nodeKeys } from '../../controller/adapters/crypto/keys.ts'
import { WebhookServer } from '../../controller/adapters/http/webhook-server.ts'
import { KubernetesSource } from '../../controller/adapters/kubernetes/cluster-source.ts'
import { createKubeClient } from '../../controller/adapters/kubernetes/kube-client.ts'
import { WebhookConfigurations } from '../../controller/adapters/kubernetes/webhook-configurations.ts'
import { OpaRegoCompiler } from '../../controller/adapters/opa/rego-compiler.ts'
import { defaultSettings } from '../../controller/core/inject/settings.ts'
import { WEBHOOK_CONFIGURATIONS } from '../../controller/core/kubernetes/permissions.ts'
import { Admission } from '../../controller/runtime/admission.ts'
import { keepServing } from '../../controller/runtime/serving-certificate.ts'
import { startApiServer } from '../kit/apiserver.ts'
import { FakeClock } from '../kit/fake-clock.ts'
import { makeController } from '../kit/identity-controller.ts'
import { KubeCluster } from '../kit/kube-cluster.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'
import { waitFor } from '../kit/wait.ts'

const log = pino({ level: 'silent' })
const server = await startApiServer(t)
const cluster = new KubeCluster(server)
await cluster.prepare({ shop: ['web'], 'postern-system': [] })
await cluster.applyYaml(`
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example }
---
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`)

const client = createKubeClient(server.kubeconfig(await cluster.controllerToken()))
t.teardown(() => client.close())
const source = new KubernetesSource({ client, log })
t.teardown(() => source.stop())
await source.start(AbortSignal.timeout(60_000))

const { authority, own } = (await makeController({ clock: new FakeClock(Date.now()) })).identity
const admission = new Admission({
  settings: defaultSettings('1.2.3'),
  manifests: source,
  cluster: source,
  compiler: new OpaRegoCompiler({ binary: toolPath('opa'), tempDir: tempDir(t) }),
})
const parts = {
  authority,
  own,
  keys: nodeKeys,
  dnsNames: ['localhost'],
  lifetimeSeconds: 3600,
  log,
}
const serving = await keepServing(parts, (renewed) => webhooks.setCertificate(renewed))
const webhooks = new WebhookServer({
  host: '127.0.0.1',
  port: 0,
  certificate: serving.first,
  inject: (request) => admission.inject(request),
  validate: (request, signal) => admission.validate(request, signal),
  log,
})
await webhooks.start()
t.teardown(async () => {
  serving.stop()
  own.stop()
  await webhooks.stop()
})

/** As the chart has them, but for the way to the server. */
async function configure(plural: keyof typeof WEBHOOK_CONFIGURATIONS, path: string, rule: object) {
  const { kind, name, webhook } = WEBHOOK_CONFIGURATIONS[plural]
  const text = JSON.stringify({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind,
    metadata: { name },
    webhooks: [
      {
        name: webhook,
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        failurePolicy: 'Fail',
        clientConfig: { url: `https://localhost:${webhooks.port()}${path}` },
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } },
        rules: [{ scope: '*', ...rule }],
      },
    ],
  })
  const at = `/apis/admissionregistration.k8s.io/v1/${plural}/${name}?fieldManager=helm`
  const answer = await server.request('PATCH', at, {
    text,
    contentType: 'application/apply-patch+yaml',
  })
  if (answer.status >= 300) throw new Error(String(answer.body.message))
}

const PODS = { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }
const OURS = {
  operations: ['CREATE', 'UPDATE'],
  apiGroups: ['postern.dev'],
  apiVersions: ['*'],
  resources: ['*'],
}
await configure('mutatingwebhookconfigurations', '/inject', PODS)
await configure('validatingwebhookconfigurations', '/validate', OURS)

const POD = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name: 'web', namespace: 'shop' },
  spec: { containers: [{ name: 'app', image: 'x', livenessProbe: { tcpSocket: { port: 8080 } } }] },
}
const make = (json: object) => server.request('POST', '/api/v1/namespaces/shop/pods', { json })
const POLICIES = '/apis/postern.dev/v1alpha1/namespaces/shop/authorizationpolicies'
const policy = (spec: object, name = 'p') => ({
  apiVersion: 'postern.dev/v1alpha1',
  kind: 'AuthorizationPolicy',
  metadata: { name, namespace: 'shop' },
  spec,
})
const post = (spec: object, name?: string) =>
  server.request('POST', POLICIES, { json: policy(spec, name) })

t.test('until its root is known, nothing is made', async (t) => {
  t.match(await make(POD), { status: 500, body: { message: /inject\.postern\.dev.*certificate/ } })
  const keeper = new WebhookConfigurations({
    client,
    roots: () => authority.trustBundlePem,
    isLeader: () => true,
    log,
  })
  t.teardown(() => keeper.stop())
  keeper.start()
  // A pod of a dry run is not kept.
  const dry = '/api/v1/namespaces/shop/pods?dryRun=All'
  const works = async () => (await server.request('POST', dry, { json: POD })).status === 201
  await waitFor(works, { what: 'a webhook that is trusted', signal: AbortSignal.timeout(30_000) })
})

t.test('pods', async (t) => {
  t.match(await make(POD), {
    status: 201,
    body: {
      metadata: { labels: { 'postern.dev/rev': 'default' } },
      spec: {
        initContainers: [{ name: 'postern-init' }, { name: 'postern-sidecar' }],
        containers: [
          { livenessProbe: { httpGet: { path: '/app-health/app/livez', port: 15020 } } },
        ],
      },
    },
  })
  const optedOut = { ...POD.metadata, name: 'out', labels: { 'postern.dev/inject': 'disabled' } }
  const left = await make({ ...POD, metadata: optedOut })
  t.equal(left.status, 201)
  t.equal((left.body.spec as { initContainers?: unknown }).initContainers, undefined)
  const fake = { containers: [{ name: 'postern-sidecar', image: 'x' }] }
  t.match(await make({ ...POD, metadata: { ...POD.metadata, name: 'fake' }, spec: fake }), {
    status: 422,
    body: {
      message: /Postern refuses this pod: spec\.containers\[0\]\.name: .*choose another name/,
    },
  })
})

t.test('objects', async (t) => {
  const rego = (module: string) => ({ rego: { module, entrypoint: 'envoy/authz/allow' } })
  const good = 'package envoy.authz\n\ndefault allow := false\n'
  t.match(await post(rego(`${good}allow if inputt.x`)), {
    status: 422,
    body: {
      message: /spec\.rego\.module: .*\[ERR_REGO_COMPILE\]/s,
      details: { causes: [{ field: /^spec\.rego\.module/ }] },
    },
  })
  t.match(await post(rego(good)), { status: 201 }, 'Rego that compiles')
  const target = { targetRefs: [{ group: '', kind: 'Service', name: 'none' }] }
  t.match(await post({ ...target, rules: [{}] }, 'later'), { status: 201 }, 'its Service may come')
  const changed = { ...policy(rego('package x\n')), metadata: { name: 'p', namespace: 'shop' } }
  const text = JSON.stringify(changed)
  const contentType = 'application/apply-patch+yaml'
  const at = `${POLICIES}/p?fieldManager=test&force=true`
  t.match(await server.request('PATCH', at, { text, contentType }), { status: 422 }, 'a change')
})

t.test('who is not the API server', async (t) => {
  const ask = (path: string, body: string, method = 'POST') =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const options = {
        host: 'localhost',
        port: webhooks.port(),
        method,
        path,
        ca: authority.trustBundlePem,
      }
      const sent = httpsRequest(options, (response) => {
        let text = ''
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      })
      sent.on('error', reject).end(body)
    })
  t.match(await ask('/inject', '{'), { status: 400 })
  t.match(await ask('/inject', '{"apiVersion":"admission.k8s.io/v1","request":[]}'), {
    status: 400,
  })
  t.match(await ask('/metrics', ''), { status: 404 })
  t.match(await ask('/inject', '', 'GET'), { status: 405 })
  t.match(await ask('/inject', 'x'.repeat(3 * 1024 * 1024)).catch(() => ({ status: 413 })), {
    status: 413,
  })
  // Three addresses, each with less than its share, send a byte and wait.
  const slow = Array.from({ length: 45 }, (_, i) => {
    const localAddress = `127.0.0.${2 + (i % 3)}`
    const ca = authority.trustBundlePem
    const target = { host: '127.0.0.1', servername: 'localhost', port: webhooks.port(), ca }
    const sent = httpsRequest({ ...target, localAddress, method: 'POST', path: '/inject' })
    sent.on('error', () => {}).write('{')
    return new Promise<typeof sent>((resolve) =>
      sent.on('socket', (socket) => socket.once('secureConnect', () => resolve(sent))),
    )
  })
  const waiting = await Promise.all(slow)
  t.match(await ask('/inject', '{'), { status: 400 }, 'who sends slowly takes nobody’s place')
  for (const sent of waiting) sent.destroy()
  // One address takes no more than its share.
  const sockets = Array.from({ length: 40 }, () => connect(webhooks.port(), '127.0.0.1'))
  const closed = await Promise.all(
    sockets.map(
      (socket) =>
        new Promise<boolean>((resolve) => {
          socket.on('error', () => {}).on('close', () => resolve(true))
          socket.on('connect', () => setTimeout(() => resolve(false), 500))
        }),
    ),
  )
  for (const socket of sockets) socket.destroy()
  t.ok(closed.filter(Boolean).length >= 24, 'connections beyond the sixteenth are closed')
})
