/**
 * The whole in a real cluster: pods with sidecars that attested by their tokens, called by every way that a cluster has.
 * What is allowed gets through, what is not is refused, and what has no sidecar does not reach a STRICT port.
 */
import { join } from 'node:path'
import { t } from 'tap'
import { whyNoCluster } from '../../scripts/cluster/machine.ts'
import { useCluster } from '../kit/cluster.ts'
import {
  accountManifest,
  controllerManifests,
  type Images,
  nodeContainer,
  podManifest,
  podTemplate,
  SYSTEM,
} from '../kit/pod-mesh.ts'
import { waitFor } from '../kit/wait.ts'

const why = whyNoCluster()
const CRDS = join(import.meta.dirname, '../../crds')
const NS = 'pod-mesh'
const OUT = 'pod-mesh-out'

/** HTTP on 8080 that says who was called, TCP echo on 9000 and for itself on 7000, UDP echo on 9999. */
const SERVER = `
const http = require('node:http'), net = require('node:net'), dgram = require('node:dgram')
process.on('SIGTERM', () => process.exit(0))
http.createServer((q, s) => s.end(process.env.HOSTNAME + ' ' + q.url)).listen(8080, '0.0.0.0')
const echo = () => net.createServer((s) => s.on('error', () => {}).pipe(s))
echo().listen(9000, '0.0.0.0')
echo().listen(7000, '127.0.0.1')
const u = dgram.createSocket('udp4')
u.on('message', (m, r) => u.send('udp ' + m, r.port, r.address)).bind(9999)`

/** Prints the status and the body, or why there is none. */
const HTTP = `
const [url, method] = process.argv.slice(1)
fetch(url, { method, signal: AbortSignal.timeout(5000) })
  .then(async (r) => console.log(r.status, (await r.text()).trim()))
  .catch((e) => console.log('failed', e.cause?.code ?? e.name))`

const UDP = `
const [host, port] = process.argv.slice(1)
const u = require('node:dgram').createSocket('udp4')
u.on('message', (m) => { console.log(String(m)); process.exit() })
setInterval(() => u.send('hello', Number(port), host), 200)
setTimeout(() => { console.log('failed'); process.exit() }, 5000)`

const TCP = `
const [host, port] = process.argv.slice(1)
const s = require('node:net').connect(Number(port), host, () => s.write('hello'))
const end = (text) => { console.log(text); process.exit() }
s.on('data', (d) => end('tcp ' + d)).on('error', (e) => end('failed ' + e.code)).on('close', () => end('closed'))
setTimeout(() => end('failed'), 5000)`

/** A pod that asks as a sidecar does, with whatever token it has. Prints what the controller says. */
const ATTEST = `
const [token, uri, pem] = process.argv.slice(1)
const from = (path) => import('/postern/' + path)
;(async () => {
  const { createCsrClient } = await from('sidecar/adapters/grpc/csr-client.js')
  const { nodeKeys } = await from('sidecar/adapters/crypto/keys.js')
  const { buildCsr } = await from('sidecar/core/identity/csr.js')
  const { fromPem } = await from('common/pem.js')
  const { Secret } = await from('common/secret.js')
  const controller = 'postern-controller.${SYSTEM}.svc:15012'
  const client = createCsrClient({ controller, clock: { now: () => Date.now() } })
  const key = await nodeKeys.generate()
  const csr = buildCsr({ publicKey: key.publicKey, uri, sign: (b) => key.sign(b) })
  const proof = { kind: 'pod', token: new Secret(token) }
  const call = { csr, instanceId: 'a'.repeat(32), proof }
  const trust = { trustDomain: 'shop.example', roots: fromPem(pem) }
  const { signal } = new AbortController()
  await client.attest(trust, call, { svid: undefined, signal })
})().then(() => 'an SVID', (e) => e.code + ': ' + e.message).then((t) => { console.log(t); process.exit() })`

const MESH = [
  { kind: 'Mesh', metadata: { name: 'mesh' }, spec: { trustDomain: 'shop.example' } },
  { kind: 'CertificateAuthority', metadata: { name: 'postern' }, spec: { selfSigned: {} } },
].map((object) => ({ apiVersion: 'postern.dev/v1alpha1', ...object }))

const principal = (account: string) => `spiffe://shop.example/ns/${NS}/sa/${account}`

const POLICY = {
  apiVersion: 'postern.dev/v1alpha1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'orders', namespace: NS },
  spec: {
    targetRefs: [{ group: '', kind: 'Service', name: 'orders' }],
    rules: [
      {
        from: [{ source: { principals: [principal('web'), principal('orders')] } }],
        to: [{ operation: { methods: ['GET'], ports: ['8080'] } }],
      },
      {
        from: [{ source: { principals: [principal('web')] } }],
        to: [{ operation: { ports: ['9000', '7000'] } }],
      },
    ],
  },
}

const SERVICE = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'orders', namespace: NS },
  spec: {
    selector: { app: 'orders' },
    ports: [
      { name: 'http', port: 80, targetPort: 8080 },
      { name: 'tcp', port: 9000 },
    ],
  },
}

t.test('a mesh of pods', { skip: why ?? false }, async (t) => {
  const { ask, images: built } = await useCluster(t)
  const image = (name: string) => built[name]?.reference.replace('docker.io/', '') ?? ''
  const images: Images = {
    controller: image('controller'),
    sidecar: image('sidecar'),
    init: image('init'),
  }
  const apply = (...items: readonly object[]) =>
    ask(
      ['apply', '--server-side', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
    )
  const run = (pod: string, script: string, ...args: readonly string[]) => {
    const namespace = pod === 'outsider' ? OUT : NS
    const command = ['/usr/bin/node', '-e', script, ...args]
    return ask(['exec', '-n', namespace, pod, '-c', 'app', '--', ...command]).then((s) => s.trim())
  }
  const get = (pod: string, url: string, method = 'GET') => run(pod, HTTP, url, method)
  const ipOf = (name: string) =>
    ask(['get', 'pod', '-n', NS, name, '--output=jsonpath={.status.podIP}'])

  // Perhaps still on its way out since another test.
  await ask(['delete', 'namespace', SYSTEM, '--ignore-not-found', '--timeout=90s'])
  await ask(['apply', '--server-side', '--force-conflicts', '-f', CRDS])
  const crds = ['crd', '--all', '--for=condition=Established', '--timeout=30s']
  await ask(['wait', ...crds])
  for (const name of [SYSTEM, NS, OUT]) {
    const labels = name === NS ? { 'postern.dev/inject': 'enabled' } : {}
    await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
  }
  // All of it, and until it is gone: other tests install Postern in the same cluster.
  t.teardown(async () => {
    await ask(['delete', 'meshes,certificateauthorities', '--all'])
    await ask(['delete', 'namespace', NS, OUT, SYSTEM, '--timeout=60s'])
    await ask(['delete', 'clusterrole,clusterrolebinding', 'postern-controller'])
    await ask(['delete', '-f', CRDS])
  })
  await apply(...MESH, POLICY, SERVICE, ...controllerManifests(images))
  await ask(['rollout', 'status', '-n', SYSTEM, 'deployment/postern-controller', '--timeout=90s'])
  const roots = async () =>
    ask(['get', 'configmap', '-n', NS, 'postern-ca-roots', '--output=jsonpath={.data.ca\\.crt}'])
  await waitFor(roots, { what: 'the roots', signal: AbortSignal.timeout(30_000) })

  const accounts = ['web', 'orders', 'thief'].map((name) => accountManifest(NS, name))
  await apply(
    ...accounts,
    accountManifest(OUT, 'outsider'),
    podManifest(images, { namespace: NS, name: 'web' }),
    podManifest(images, { namespace: NS, name: 'thief' }),
    podManifest(images, {
      namespace: NS,
      name: 'orders',
      script: SERVER,
      ports: [{ name: 'web', containerPort: 8080 }],
      // As a StatefulSet's pod has them.
      spec: { hostname: 'orders-0', subdomain: 'headless' },
      app: {
        readinessProbe: { httpGet: { path: '/ready', port: 'web' } },
        livenessProbe: { tcpSocket: { port: 9000 } },
      },
    }),
    podManifest(images, { namespace: OUT, name: 'outsider', sidecar: false }),
  )
  await ask(['wait', '-n', NS, 'pod', '--all', '--for=condition=Ready', '--timeout=120s'])
  await ask(['wait', '-n', OUT, 'pod', '--all', '--for=condition=Ready', '--timeout=60s'])
  const orders = await ipOf('orders')
  const service = `http://orders.${NS}.svc.cluster.local`

  await t.test('who may, by the Service and by the pod’s address', async (t) => {
    t.equal(await get('web', `http://orders/a`), '200 orders-0 /a')
    t.equal(await get('web', `${service}/b`), '200 orders-0 /b')
    t.equal(await get('web', `http://${orders}:8080/c`), '200 orders-0 /c')
    t.equal(await run('web', TCP, 'orders', '9000'), 'tcp hello')
  })

  await t.test('who may not, by both', async (t) => {
    t.match(await get('thief', 'http://orders/'), /^403/)
    t.match(await get('thief', `http://${orders}:8080/`), /^403/)
    t.match(await get('web', 'http://orders/', 'POST'), /^403/)
    t.notMatch(await run('thief', TCP, 'orders', '9000'), /hello/)
  })

  await t.test('plaintext does not reach a STRICT port', async (t) => {
    t.match(await get('outsider', `http://${orders}:8080/`), /^failed/)
    t.match(await get('outsider', `${service}/`), /^failed/)
    t.notMatch(await run('outsider', TCP, orders, '9000'), /hello/)
    t.notMatch(await run('outsider', TCP, orders, '12345'), /hello/)
    t.notMatch(await run('outsider', TCP, orders, '15006'), /hello/)
  })

  await t.test('what listens on loopback only stays there', async (t) => {
    t.notMatch(await run('web', TCP, orders, '7000'), /hello/, 'whoever may call the port')
    t.equal(await run('orders', TCP, '127.0.0.1', '7000'), 'tcp hello')
  })

  await t.test('a pod calls itself through its Service, and is decided about', async (t) => {
    t.equal(await get('orders', `${service}/self`), '200 orders-0 /self')
    t.match(await get('orders', `${service}/self`, 'POST'), /^403/)
    t.match(await get('orders', `http://${orders}:8080/self`, 'POST'), /^403/)
  })

  await t.test('probes of the app, by its sidecar', async (t) => {
    const probe = (path: string) => get('outsider', `http://${orders}:15020${path}`)
    t.match(await probe('/app-health/app/readyz'), /^200 /)
    t.match(await probe('/app-health/app/livez'), /^200 /)
    t.match(await probe('/app-health/app/startupz'), /^404 /, 'it has none')
    t.match(await probe('/app-health/other/livez'), /^404 /)
  })

  await t.test('UDP is untouched', async (t) => {
    t.equal(await run('outsider', UDP, orders, '9999'), 'udp hello')
    t.equal(await run('web', UDP, orders, '9999'), 'udp hello')
  })

  await t.test('other ways to a service', async (t) => {
    const meta = (name: string) => ({ name, namespace: NS })
    const selector = { app: 'orders' }
    const service = (name: string, spec: object) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: meta(name),
      spec,
    })
    const ports = [{ name: 'http', port: 8080, targetPort: 'web' }]
    await apply(
      service('headless', { clusterIP: 'None', selector, ports }),
      service('outside', { type: 'NodePort', selector, ports }),
      service('by-hand', { ports: [{ name: 'http', port: 8088, targetPort: 8080 }] }),
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { ...meta('by-hand-1'), labels: { 'kubernetes.io/service-name': 'by-hand' } },
        addressType: 'IPv4',
        ports: [{ name: 'http', port: 8080 }],
        endpoints: [{ addresses: [orders] }],
      },
    )
    const comes = (pod: string, url: string, expected: RegExp) =>
      waitFor(async () => expected.test(await get(pod, url)), {
        what: `${url} from ${pod}`,
        signal: AbortSignal.timeout(20_000),
      })
    await comes('web', 'http://headless:8080/h', /^200 orders-0 \/h$/)
    t.match(await get('thief', 'http://headless:8080/'), /^403/)
    await comes('web', 'http://orders-0.headless:8080/0', /^200 orders-0 \/0$/)
    t.match(await get('thief', 'http://orders-0.headless:8080/'), /^403/)
    await comes('web', 'http://by-hand:8088/s', /^200 orders-0 \/s$/)
    t.match(await get('thief', 'http://by-hand:8088/'), /^403/)
    const port = await ask([
      ...['get', 'service', '-n', NS, 'outside'],
      '--output=jsonpath={.spec.ports[0].nodePort}',
    ])
    const node = await ask([
      'get',
      'node',
      '--output=jsonpath={.items[0].status.addresses[0].address}',
    ])
    const fromHost = (method = 'GET') =>
      fetch(`http://${node}:${port}/n`, { method, signal: AbortSignal.timeout(3000) }).then(
        async (r) => `${r.status} ${await r.text()}`,
        () => 'failed',
      )
    t.equal(await fromHost(), 'failed', 'plaintext from outside, under STRICT')
    const permissive = {
      apiVersion: 'postern.dev/v1alpha1',
      kind: 'PeerAuthentication',
      metadata: meta('orders'),
      spec: { selector: { matchLabels: selector }, mtls: { mode: 'PERMISSIVE' } },
    }
    await apply(permissive)
    await waitFor(async () => (await fromHost()).startsWith('403'), { what: 'a decision' })
    t.match(await get('outsider', `http://${orders}:8080/`), /^403/, 'nobody in particular')
    t.match(await get('web', 'http://orders/still'), /^200/)
    await ask(['delete', 'peerauthentication', '-n', NS, 'orders'])
    await waitFor(async () => (await fromHost()) === 'failed', { what: 'STRICT again' })
  })

  await t.test('a Job ends, and its init container reaches a service', async (t) => {
    const call = (path: string) => `fetch('http://orders${path}').then(async (r) => {
      console.log(r.status, await r.text()); process.exit(r.ok ? 0 : 1) }, () => process.exit(2))`
    const pod = {
      namespace: NS,
      name: 'web',
      labels: { app: 'job' },
      script: call('/job'),
      inits: [nodeContainer(images, 'first', call('/init'))],
      spec: { restartPolicy: 'Never' },
    }
    const template = podTemplate(images, pod)
    const metadata = { name: 'once', namespace: NS }
    await apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata,
      spec: { backoffLimit: 0, template },
    })
    await ask(['wait', '-n', NS, 'job/once', '--for=condition=Complete', '--timeout=60s'])
    const logs = (container: string) => ask(['logs', '-n', NS, 'job/once', '-c', container])
    t.match(await logs('first'), /^200 orders-0 \/init/)
    t.match(await logs('app'), /^200 orders-0 \/job/)
  })

  await t.test('who shows another’s token, or asks for another', async (t) => {
    const pod = (name: string) =>
      ask(['get', 'pod', '-n', NS, name, '--output=jsonpath={.metadata.uid}'])
    const tokenOf = async (name: string, audience = 'postern-ca') =>
      ask([
        ...['create', 'token', '-n', NS, name, `--audience=${audience}`, '--duration=10m'],
        ...['--bound-object-kind=Pod', `--bound-object-name=${name}`],
        `--bound-object-uid=${await pod(name)}`,
      ]).then((token) => token.trim())
    const pem = await roots()
    const attack = (token: string) => run('outsider', ATTEST, token, principal('web'), pem)
    t.match(await attack(await tokenOf('web')), /not its pod's address/, 'from elsewhere')
    const other = await tokenOf('web', 'https://kubernetes.default.svc')
    t.match(await attack(other), /^ERR_TOKEN_INVALID/, 'of another audience')
    t.match(await attack('x.y.z'), /^ERR_TOKEN_INVALID/, 'that is none')
    const unbound = await ask(['create', 'token', '-n', NS, 'web', '--audience=postern-ca'])
    t.match(await attack(unbound.trim()), /^ERR_TOKEN_INVALID/, 'that is of no pod')
  })

  await t.test('a sidecar that starts again goes on, without a controller', async (t) => {
    const restarts = () =>
      ask([
        ...['get', 'pod', '-n', NS, 'web'],
        '--output=jsonpath={.status.initContainerStatuses[1].restartCount}',
      ])
    await ask(['scale', '-n', SYSTEM, 'deployment/postern-controller', '--replicas=0'])
    await ask(['wait', '-n', SYSTEM, 'pod', '--all', '--for=delete', '--timeout=60s'])
    const kill = 'process.kill(1, "SIGTERM")'
    const inside = ['exec', '-n', NS, 'web', '-c', 'postern-sidecar', '--']
    await ask([...inside, '/usr/bin/node', '-e', kill])
    await waitFor(async () => (await restarts()) === '1', {
      what: 'a restart',
      signal: AbortSignal.timeout(60_000),
    })
    await waitFor(async () => (await get('web', 'http://orders/after')) === '200 orders-0 /after', {
      what: 'calls to go on',
      signal: AbortSignal.timeout(60_000),
    })
    t.match(await get('thief', 'http://orders/'), /^403/)
  })
})
