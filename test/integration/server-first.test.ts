/**
 * TCP ports whose server speaks first, through a real Envoy: who isn't allowed hears nothing and is not seen by the app,
 * by every kind of rule, on TLS and plaintext, silent or not; and who is allowed is greeted.
 */
import { type Test, t } from 'tap'
import type { AuthorizationPolicySpec } from '../../controller/core/crd/index.ts'
import { startTcpApp, talk } from '../kit/apps.ts'
import {
  type InboundMesh,
  openMeshTls,
  openPlain,
  snapshotOf,
  startInbound,
  svidOf,
} from '../kit/inbound.ts'
import { freePorts } from '../kit/ports.ts'
import { waitFor } from '../kit/wait.ts'

type Rules = readonly Partial<AuthorizationPolicySpec>[]
const ALLOW_WEB: Partial<AuthorizationPolicySpec> = {
  rules: [{ from: [{ source: { principals: ['shop.example/ns/shop/sa/web'] } }] }],
}
const GREETING = 'greeting '
const greeted = (heard: string) => heard.startsWith(GREETING)
const web = await svidOf('web')
const mallory = await svidOf('mallory')
const MESH = { ALPNProtocols: ['postern'] }

/** An app that greets, behind a port that says so. */
async function startDatabase(t: Test, policies: Rules, more: Partial<InboundMesh> = {}) {
  const [port = 0, appPort = 0] = await freePorts(2)
  const inbound = [{ port, appPort, protocol: 'TCP' as const, serverFirst: true }]
  const app = await startTcpApp(t, appPort)
  const mesh: InboundMesh = { inbound, policies, ...more }
  const envoy = await startInbound(t, mesh)
  const edit = (changed: Rules) => envoy.publish(snapshotOf({ ...mesh, policies: changed }))
  return { port, app, envoy, edit }
}

const SILENT = { heard: '', closed: true }

t.test('an allowed client that says nothing is greeted', async (t) => {
  const { port, envoy } = await startDatabase(t, [ALLOW_WEB])
  t.same(await talk(openMeshTls(port, web), '', greeted), { heard: GREETING, closed: false })
  const echoed = await talk(openMeshTls(port, web), 'hello', (h) => h.endsWith('hello'))
  t.equal(echoed.heard, 'greeting hello')
  t.same(envoy.nacks, [])
})

t.test(
  'a denied client hears nothing, whether it speaks or not, and the app sees no one',
  async (t) => {
    const { port, app, envoy } = await startDatabase(t, [ALLOW_WEB])
    t.same(await talk(openMeshTls(port, mallory), '', greeted), SILENT)
    t.same(await talk(openMeshTls(port, mallory), 'hello', greeted), SILENT)
    t.same(await talk(openMeshTls(port, undefined), '', greeted), SILENT, 'no certificate')
    t.same(await talk(openPlain(port), 'hello', greeted), SILENT, 'plaintext under STRICT')
    t.equal(app.connections, 0)
    const entry = await waitFor(() => envoy.tcpLog[0], { what: 'an entry in the access log' })
    const { connectionTerminationDetails, filterStateObjects } = entry.commonProperties ?? {}
    t.equal(connectionTerminationDetails, 'rbac_access_denied_matched_policy[default]')
    const said = Object.values(filterStateObjects ?? {}).map(({ value }) =>
      Buffer.from(value).toString(),
    )
    t.match(said.join(' '), 'spiffe://shop.example/ns/shop/sa/mallory')
  },
)

const DENY_MALLORY = {
  action: 'DENY' as const,
  rules: [{ from: [{ source: { principals: ['shop.example/ns/shop/sa/mallory'] } }] }],
}
const ALLOW_ALL = { rules: [{}] }
const onPort = (port: number) => ({
  action: 'DENY' as const,
  rules: [{ to: [{ operation: { ports: [port] } }] }],
})
const fromAddress = (ipBlocks: string[]) => ({ rules: [{ from: [{ source: { ipBlocks } }] }] })

t.test(
  'every kind of rule decides before the greeting, and an edit decides about the next one',
  async (t) => {
    const { port, app, edit } = await startDatabase(t, [ALLOW_ALL, DENY_MALLORY])
    const hears = async (svid: typeof web, localAddress = '127.0.0.1') => {
      const { heard } = await talk(openMeshTls(port, svid, { localAddress }), '', greeted)
      return greeted(heard)
    }
    t.same([await hears(web), await hears(mallory)], [true, false], 'DENY by principal')
    await edit([ALLOW_ALL, onPort(port)])
    t.same([await hears(web), await hears(mallory)], [false, false], 'DENY by port')
    await edit([ALLOW_ALL, onPort(port + 1)])
    t.same([await hears(web), await hears(mallory)], [true, true], 'DENY by another port')
    await edit([fromAddress(['127.0.0.7/32'])])
    t.same([await hears(web), await hears(web, '127.0.0.7')], [false, true], 'ALLOW by address')
    await edit([ALLOW_ALL, { action: 'DENY', ...fromAddress(['127.0.0.7/32']) }])
    t.same([await hears(web), await hears(web, '127.0.0.7')], [true, false], 'DENY by address')
    await edit([{ rules: [{ from: [{ source: { namespaces: ['shop'] } }] }] }])
    t.same([await hears(web)], [true], 'ALLOW by namespace')
    await edit([])
    const before = app.connections
    t.same([await hears(web), app.connections], [false, before], 'no policy')
  },
)

t.test('plaintext under PERMISSIVE is decided by the plaintext rules', async (t) => {
  const { port, app, edit } = await startDatabase(t, [ALLOW_WEB], { mtls: { mode: 'PERMISSIVE' } })
  t.same(await talk(openPlain(port), 'hello', greeted), SILENT, 'a principal never matches')
  t.equal(app.connections, 0)
  await edit([fromAddress(['127.0.0.7/32'])])
  t.same(await talk(openPlain(port), 'hello', greeted), SILENT)
  t.match((await talk(openPlain(port, '127.0.0.7'), 'hello', greeted)).heard, GREETING)
  t.same(await talk(openMeshTls(port, web, MESH), '', greeted), SILENT)
  await edit([ALLOW_ALL])
  t.equal((await talk(openPlain(port), '', greeted)).heard, GREETING, 'silent, after a second')
})

t.test('a slot without its configuration greets nobody', async (t) => {
  const { port, app, envoy } = await startDatabase(t, [ALLOW_ALL])
  await envoy.publishWithout(`rbac/${port}/tls`)
  t.same(await talk(openMeshTls(port, web), '', greeted), SILENT)
  t.equal(app.connections, 0)
})

t.test('half a close goes through, both ways', async (t) => {
  const { port } = await startDatabase(t, [ALLOW_ALL])
  const socket = openMeshTls(port, web, { allowHalfOpen: true } as object)
  let heard = ''
  socket.on('data', (part) => {
    heard += String(part)
  })
  await new Promise((resolve) => socket.once('data', resolve))
  socket.end('bye')
  await new Promise((resolve) => socket.once('end', resolve))
  t.equal(heard, 'greeting bye', 'what came before the end, and the end')
})
