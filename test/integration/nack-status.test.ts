/**
 * A refusal on the wire becomes a condition on the object that caused it, in the real controller process; the proxy's
 * own words stand there, and an ACK is told apart from enforcement. The proxy is a stream by hand.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TYPE_URLS } from '../../common/xds.ts'
import type { DeltaDiscoveryResponse } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { fetchSvid, startController } from '../kit/controller.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'
import { controllerServer, freshStream } from '../kit/xds-fuzz.ts'

const API = 'apiVersion: postern.dev/v1alpha1\n'
const MESH = `${API}kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example }
---
${API}kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
---
${API}kind: WorkloadEntry
metadata: { name: orders, namespace: shop }
spec:
  serviceAccount: orders
  inbound: [{ name: http, port: 18080, appPort: 18081 }]
---
${API}kind: PeerAuthentication
metadata: { name: peers, namespace: shop }
spec: { mtls: { mode: STRICT } }
---
`
const POLICY = (name: string, path: string) => `${API}kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [{ kind: Service, name: orders }]
  rules: [{ to: [{ operation: { paths: ["${path}"] } }] }]
`
const RBAC = 'rbac/18080/tls'

t.test('from a NACK to a condition, and back', async (t) => {
  const root = tempDir(t)
  const manifests = join(root, 'm')
  mkdirSync(manifests)
  const write = (path: string) =>
    writeFileSync(
      join(manifests, 'a.yaml'),
      `${MESH}${POLICY('good', '/a')}---\n${POLICY('bad', path)}`,
    )
  write('/b')
  const controller = startController(t, { manifests, state: join(root, 's') })
  const server = controllerServer(
    t,
    await controller.meshPort(),
    await fetchSvid(t, controller, 'shop/orders'),
  )
  const stream = freshStream(server, Object.keys(TYPE_URLS))
  await waitFor(async () => (await stream.drained()).length === 0)

  const condition = async (path: string, type: string) =>
    (await controller.object(path))?.status?.conditions?.find((c) => c.type === type)
  const says = async (path: string, type: string, status: string, message: RegExp) => {
    const isSo = async () => {
      const found = await condition(path, type)
      return found?.status === status && message.test(found.message ?? '')
    }
    await waitFor(isSo, { what: `${path} ${type}=${status}` }).catch(async (error: Error) =>
      t.fail(`${error.message}; it is ${JSON.stringify(await condition(path, type))}`),
    )
  }
  const [good, bad] = ['good', 'bad'].map((n) => `namespaces/shop/authorizationpolicies/${n}`) as [
    string,
    string,
  ]
  const entry = 'namespaces/shop/workloadentries/orders'
  const peers = 'namespaces/shop/peerauthentications/peers'
  await says(good, 'Enforced', 'False', /^0\/1 proxies enforce it \(acknowledged by 1\)/)

  /** The next response for the deciding filter, everything else ACKed. */
  const nextRbac = async (): Promise<DeltaDiscoveryResponse> => {
    for (;;) {
      const response = await stream.next()
      if (response.resources.some(({ name }) => name === RBAC)) return response
      stream.ack(response)
    }
  }
  write('/c')
  stream.nack(await nextRbac(), `${RBAC}: shop/bad/rules[0]: no such matcher`)
  const words = /the proxy of shop\/orders refused .*shop\/bad\/rules\[0\]: no such matcher/
  await says(bad, 'Programmed', 'False', words)
  await says(entry, 'Programmed', 'False', words)
  await says(good, 'Programmed', 'True', /./)
  await says(peers, 'Programmed', 'True', /./)
  await says(bad, 'Enforced', 'False', /acknowledged by 0/)
  t.match(await controller.problems(), [{ code: 'ERR_PROXY_NACK' }])

  write('/d')
  stream.ack(await nextRbac())
  await says(bad, 'Programmed', 'True', /./)
  await says(bad, 'Enforced', 'False', /acknowledged by 1/)
  t.same(await controller.problems(), [])
  stream.call.cancel()
})
