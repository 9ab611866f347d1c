/**
 * Captured outbound connections with a real redirect: a network namespace with an nft rule, an app that just calls,
 * its Envoy, and the Envoys of the services. Everything in the namespace; nothing outside is touched.
 */
import { type Test, t } from 'tap'
import type { BackendTrafficPolicySpec, MeshSpec } from '../../controller/core/crd/index.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { startEnvoy } from '../kit/envoy.ts'
import { makeCa, makeSvid } from '../kit/identity.ts'
import { startNetns, whyNoNetns } from '../kit/netns.ts'
import {
  makeInput,
  makeMesh,
  makePeerAuthentication,
  makePolicy,
  makeTrafficPolicy,
  makeWorkloadEntry,
} from '../kit/objects.ts'
import { waitFor } from '../kit/wait.ts'

const APP_UID = 65_534
const CAPTURE = 15_001
const [WEB, ORDERS, STOCK_0, STOCK_1] = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'] as const
const OUTSIDE = '10.9.9.9'
const VIP = '10.1.0.2'
const OTHER_VIP = '10.1.0.3'
const NOBODY = '10.1.0.99'

/** What a user of a VM would write: all TCP but the proxy's own goes to it. */
const RULES = `
table ip capture {
  chain output {
    type nat hook output priority -100;
    meta skuid 0 return
    ip protocol tcp redirect to :${CAPTURE}
  }
}`

const nowMs = Date.now()
const ca = await makeCa({ nowMs: nowMs - 86_400_000 })

type Mode = MeshSpec['outboundTrafficPolicy']['mode']

function buildSnapshots(
  mode: Mode,
  traffic?: Partial<BackendTrafficPolicySpec>,
  plaintext: readonly string[] = [],
) {
  const inbound = [
    { name: 'http', port: 8080, appPort: 18_080 },
    { name: 'db', port: 5432, appPort: 15_432, protocol: 'TCP' as const },
  ]
  const stock = { service: 'stock', inbound: [{ port: 8080, appPort: 18_080 }] }
  const app = (address: string, ports: typeof inbound | typeof stock.inbound) =>
    ports.map((port) => ({ ...port, appAddress: address }))
  const stockAt = (name: string, address: string) =>
    makeWorkloadEntry(
      `bank/${name}`,
      { ...stock, address, inbound: app(address, stock.inbound) },
      { labels: { app: name } },
    )
  const { model, problems } = translate(
    makeInput({
      mesh: makeMesh({ outboundTrafficPolicy: { mode } }),
      workloadEntries: [
        makeWorkloadEntry('web', { address: WEB, capture: { outboundPort: CAPTURE } }),
        makeWorkloadEntry('orders', {
          address: ORDERS,
          inbound: app(ORDERS, inbound),
          serviceAddresses: [VIP],
          serviceHosts: ['orders.example.com'],
        }),
        makeWorkloadEntry('payments', {
          address: STOCK_1,
          inbound: [{ port: 8081, appPort: 18_081, appAddress: STOCK_1 }],
          serviceAddresses: [OTHER_VIP],
        }),
        stockAt('stock-0', STOCK_0),
        stockAt('stock-1', STOCK_1),
      ],
      policies: [
        {
          object: makePolicy('web', {
            rules: [{ from: [{ source: { principals: ['shop.example/ns/shop/sa/web'] } }] }],
          }),
        },
        { object: makePolicy('bank/anyone', { rules: [{}] }) },
      ],
      peerAuthentications: plaintext.map((app) =>
        makePeerAuthentication(`bank/${app}`, {
          selector: { matchLabels: { app } },
          mtls: { mode: 'DISABLE' },
        }),
      ),
      backendTrafficPolicies: traffic === undefined ? [] : [makeTrafficPolicy('p', traffic)],
    }),
  )
  if (model === undefined || problems.length > 0) throw new Error(JSON.stringify(problems))
  return (key: string) => {
    const workload = model.workloads.get(key)
    if (workload === undefined) throw new Error(`no workload ${key}`)
    return buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })
  }
}

async function startShop(t: Test) {
  const addresses = [WEB, ORDERS, STOCK_0, STOCK_1, OUTSIDE]
  const netns = await startNetns(t, addresses)
  netns.nft(RULES)
  const app = await netns.startAgent(APP_UID)
  const apps = await netns.startAgent(0, [
    `http=${ORDERS}:18080`,
    `tcp=${ORDERS}:15432`,
    `http=${STOCK_0}:18080`,
    `http=${STOCK_1}:18080`,
    `http=${STOCK_1}:18081`,
    `http=${OUTSIDE}:8080`,
    `tcp=${OUTSIDE}:9999`,
  ])
  const snapshotOf = buildSnapshots('RegistryOnly')
  const start = async (key: string, serviceAccount: string) => {
    const [namespace = ''] = key.split('/')
    const svid = await makeSvid(ca, { namespace, serviceAccount, nowMs })
    return startEnvoy(t, svid, snapshotOf(key), netns.prefix)
  }
  const web = await start('shop/web', 'web')
  const servers = [
    await start('shop/orders', 'orders'),
    await start('shop/payments', 'payments'),
    await start('bank/stock-0', 'stock-0'),
    await start('bank/stock-1', 'stock-1'),
  ]
  const count = async (name: string) =>
    Number(/: (\d+)/.exec(await web.admin(`/stats?filter=${name}$`))?.[1] ?? Number.NaN)
  return { netns, app, apps, web, servers, count }
}

const skip = whyNoNetns()
if (skip !== undefined) process.stderr.write(`SKIPPED: capture.test.ts ${skip}\n`)

t.test('captured calls', { skip: skip ?? false }, async (t) => {
  const { netns, app, apps, web, servers, count } = await startShop(t)
  const http = (address: string, port: number, host: string) => app.call({ address, port, host })

  t.test('a virtual address is its service, whatever the host says', async (t) => {
    const hosts = ['orders', 'orders.shop:8080', 'payments.shop.svc', 'anything.example', VIP]
    for (const host of hosts) {
      t.same(await http(VIP, 8080, host), { status: 200, text: `${ORDERS}:18080` }, host)
    }
    const seen = await apps.seen()
    t.same(
      seen.map(({ at }) => at),
      hosts.map(() => `${ORDERS}:18080`),
      'nobody else was called',
    )
  })

  t.test('TCP by virtual address and port', async (t) => {
    t.same(await app.call({ address: VIP, port: 5432 }), { status: 200, text: `${ORDERS}:15432` })
  })

  t.test('a headless service: the endpoint that was called, and no other', async (t) => {
    for (const address of [STOCK_0, STOCK_1]) {
      for (let i = 0; i < 4; i++) {
        t.same(await http(address, 8080, 'stock.bank'), { status: 200, text: `${address}:18080` })
      }
    }
    t.same(await app.call({ address: ORDERS, port: 5432 }), {
      status: 200,
      text: `${ORDERS}:15432`,
    })
  })

  t.test("an address that is nobody's: by host, in every form", async (t) => {
    const own = ['orders', 'orders.shop', 'orders.shop.svc', 'orders.shop.svc.cluster.local']
    for (const host of [...own, 'orders.example.com', 'ORDERS.Shop']) {
      for (const form of [host, `${host}:8080`]) {
        t.same(await http(NOBODY, 8080, form), { status: 200, text: `${ORDERS}:18080` }, form)
      }
    }
    t.match(await http(NOBODY, 8080, 'stock.bank'), { status: 200 })
    t.match(await http(NOBODY, 8081, 'payments'), { status: 200, text: `${STOCK_1}:18081` })
    await apps.seen()
    const unknown = ['stock', 'payments', 'orders.bank', 'elsewhere.example', OUTSIDE]
    for (const host of unknown) t.match(await http(NOBODY, 8080, host), { status: 502 }, host)
    t.same(
      await apps.seen(),
      [],
      "a short name is the caller's namespace's; a host is for its own port",
    )
  })

  t.test('RegistryOnly: what is unknown is closed, and counted', async (t) => {
    const before = await count('tcp.outbound/blocked.downstream_cx_total')
    t.equal((await http(OUTSIDE, 8080, 'outside')).status, 502)
    t.match(await app.call({ address: OUTSIDE, port: 9999 }), { status: 0 })
    t.match(await http(VIP, 8081, 'payments.shop'), { status: 0 }, "a number that isn't its own")
    t.match(await http(STOCK_0, 8081, 'payments.shop'), { status: 0 })
    t.match(await http(ORDERS, 18_080, 'orders.shop'), { status: 0 }, 'the app behind its proxy')
    t.equal((await count('tcp.outbound/blocked.downstream_cx_total')) - before, 4)
    t.same(await apps.seen(), [])
  })

  t.test('the capture port itself is closed: it would call itself', async (t) => {
    t.match(await http('127.0.0.1', CAPTURE, 'orders.shop'), { status: 0 })
    netns.nft('delete table ip capture')
    t.match(await http('127.0.0.1', CAPTURE, 'orders.shop'), { status: 0 }, 'without a redirect')
    netns.nft(RULES)
    t.same(await apps.seen(), [])
  })

  t.test('AllowAny: what is unknown goes where it was sent, and is counted', async (t) => {
    await web.publish(buildSnapshots('AllowAny')('shop/web'))
    t.same(await http(OUTSIDE, 8080, 'outside'), { status: 200, text: `${OUTSIDE}:8080` })
    t.same(await app.call({ address: OUTSIDE, port: 9999 }), {
      status: 200,
      text: `${OUTSIDE}:9999`,
    })
    t.equal(await count('tcp.outbound/passed.downstream_cx_total'), 1)
    t.match(await http('127.0.0.1', CAPTURE, 'outside'), { status: 0 }, 'but not to itself')
    t.same(await http(VIP, 8080, 'outside'), { status: 200, text: `${ORDERS}:18080` })
    const server = servers[0]
    await apps.seen()
    t.match(await http(ORDERS, 8080, 'orders'), { status: 200 }, 'never plaintext to an endpoint')
    const stats = await server?.admin('/stats?filter=inbound/8080/plaintext.downstream_cx_total')
    t.notMatch(stats ?? '', /: [1-9]/)
  })

  t.test('an endpoint is called as it wants to be: mutual TLS, or plaintext', async (t) => {
    const changed = buildSnapshots('RegistryOnly', undefined, ['stock-1'])
    const [, , stock0, stock1] = servers
    await stock1?.publish(changed('bank/stock-1'))
    await web.publish(changed('shop/web'))
    const cx = async (server: typeof stock0, transport: string) =>
      /: [1-9]/.test(
        (await server?.admin(`/stats?filter=inbound/8080/${transport}.downstream_cx_total`)) ?? '',
      )
    t.match(await http(STOCK_1, 8080, 'a'), { status: 200, text: `${STOCK_1}:18080` })
    t.match(await http(STOCK_0, 8080, 'a'), { status: 200, text: `${STOCK_0}:18080` })
    t.ok(await cx(stock1, 'plaintext'))
    t.notOk(await cx(stock0, 'plaintext'))
    await web.publish(buildSnapshots('RegistryOnly')('shop/web'))
    await apps.seen()
    t.not((await http(STOCK_1, 8080, 'a')).status, 200, 'TLS to who takes none')
    t.same(await apps.seen(), [])
  })

  t.test('a traffic policy counts for captured calls, by whatever way', async (t) => {
    const ways = [
      [VIP, 8080],
      [ORDERS, 8080],
      [NOBODY, 8080],
    ] as const
    const policy = { timeouts: { idle: '1h', request: '1ms' } }
    await web.publish(buildSnapshots('RegistryOnly', policy)('shop/web'))
    for (const [address, port] of ways) {
      t.ok(
        await waitFor(async () => (await http(address, port, 'orders')).status === 504),
        `${address}:${port}`,
      )
    }
  })

  t.test('nothing was refused by Envoy', async (t) => {
    t.same(
      [web, ...servers].flatMap(({ nacks }) => nacks),
      [],
    )
  })
})
