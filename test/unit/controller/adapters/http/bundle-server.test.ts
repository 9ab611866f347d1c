/** The bundle API over real HTTP; who calls is the test's to say, TLS is the mesh server's (test/integration). */
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { BundleServer } from '../../../../../controller/adapters/http/bundle-server.ts'
import { BundleDesk } from '../../../../../controller/runtime/bundle-desk.ts'
import type { PolicyBundle } from '../../../../../controller/runtime/ports.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const WEB = { spiffeId: 'spiffe://x/ns/shop/sa/web', workloadUid: 'uid-web' }

const bundle = (name: string, revision: string, requires?: string[]): PolicyBundle => ({
  workloadUid: `uid-${name}`,
  workload: `shop/${name}`,
  revision,
  pack: async () => new TextEncoder().encode(`${name} ${revision}`),
  ...(requires === undefined ? {} : { requires }),
})

async function start(t: Test, published: readonly PolicyBundle[] | undefined) {
  let peer: typeof WEB | undefined = WEB
  let spiffeIds: Record<string, string> = { 'uid-web': WEB.spiffeId, 'uid-orders': 'spiffe://x/o' }
  const bundles = new BundleDesk({
    workloadOf: (uid) => {
      const spiffeId = spiffeIds[uid]
      return spiffeId === undefined ? undefined : { spiffeId }
    },
  })
  if (published !== undefined) bundles.publish(published)
  const face = new BundleServer({ peerOf: () => peer, desk: bundles, log: silent })
  const server = createServer(face.onRequest)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    bundles.stop()
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    new Promise<{ status: number; headers: Record<string, unknown>; body: string }>(
      (resolve, reject) => {
        const call = request(
          { host: '127.0.0.1', port, path, method, headers, agent: false },
          (response) => {
            let body = ''
            response.setEncoding('utf8').on('data', (chunk) => {
              body += chunk
            })
            response.on('end', () =>
              resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
            )
          },
        )
        call.on('error', reject).end()
      },
    )
  return {
    bundles,
    get,
    become: (next: typeof WEB | undefined) => {
      peer = next
    },
    model: (next: Record<string, string>) => {
      spiffeIds = next
    },
  }
}

const OWN = '/bundles/shop/web'
const POLL = { 'if-none-match': '"r1"', prefer: 'modes=snapshot,delta;wait=60' }

t.test('serves the peer’s own bundle with its ETag', async (t) => {
  const { get } = await start(t, [bundle('web', 'r1'), bundle('orders', 'r9')])
  const found = await get(OWN)
  t.match(found, {
    status: 200,
    body: 'web r1',
    headers: { etag: '"r1"', 'content-type': 'application/vnd.openpolicyagent.bundles' },
  })
  t.match(await get(OWN, { 'if-none-match': '"r1"' }), {
    status: 304,
    body: '',
    headers: { etag: '"r1"' },
  })
  t.match(await get(OWN, { 'if-none-match': 'W/"x", W/"r1"' }), { status: 304 })
  t.match(await get(OWN, { 'if-none-match': '"r0"' }), { status: 200 })
  t.match(await get(`${OWN}?x=1`), { status: 200 })
})

t.test('a stranger learns nothing', async (t) => {
  const { get, become, model } = await start(t, [bundle('web', 'r1'), bundle('orders', 'r9')])
  const there = await get('/bundles/shop/orders')
  const notThere = await get('/bundles/shop/nothing')
  t.equal(there.status, 403)
  const { date: _, ...headers } = there.headers
  t.match(notThere, { status: 403, body: there.body, headers }, 'there or not looks the same')
  for (const path of [
    '/',
    '/bundles/shop/web/',
    '/bundles/shop/../shop/orders',
    '/bundles/undefined',
  ]) {
    t.equal((await get(path)).status, 403, path)
  }
  model({ 'uid-web': 'spiffe://x/ns/shop/sa/other' })
  t.equal((await get(OWN)).status, 403, 'an SVID of an identity that the workload had before')
  become({ ...WEB, workloadUid: 'uid-old' })
  t.equal((await get(OWN)).status, 403, 'a UID that is no more')
  become(undefined)
  t.equal((await get(OWN)).status, 401)
  t.equal((await get('/bundles/shop/nothing')).status, 401)
})

t.test('other methods, and nothing published yet', async (t) => {
  const { get } = await start(t, undefined)
  t.match(await get(OWN, {}, 'PUT'), { status: 405, headers: { allow: 'GET' } })
  t.match(await get(OWN), { status: 503, headers: { 'retry-after': '1' } })
})

t.test('a long poll is answered by a change, and only by one of its own bundle', async (t) => {
  const { get, bundles } = await start(t, [bundle('web', 'r1'), bundle('orders', 'r1')])
  let isDone = false
  const waiting = get(OWN, POLL).then((answer) => {
    isDone = true
    return answer
  })
  await get(OWN)
  bundles.publish([bundle('web', 'r1'), bundle('orders', 'r2')])
  await get(OWN)
  t.equal(isDone, false)
  bundles.publish([bundle('web', 'r2'), bundle('orders', 'r2')])
  t.match(await waiting, { status: 200, body: 'web r2', headers: { etag: '"r2"' } })
})

t.test('a long poll ends: by time, by loss of the right, by too many, by stop', async (t) => {
  const { get, bundles, model } = await start(t, [bundle('web', 'r1')])
  t.match(await get(OWN, { ...POLL, prefer: 'wait=1' }), { status: 304, headers: { etag: '"r1"' } })
  const first = get(OWN, POLL)
  const others = [1, 2, 3, 4].map(() => get(OWN, POLL))
  t.match(await Promise.race([first, ...others]), { status: 304 })
  model({})
  bundles.publish([])
  const statuses = (await Promise.all([first, ...others])).map((a) => a.status).sort()
  t.same(statuses, [304, 403, 403, 403, 403])
  model({ 'uid-web': WEB.spiffeId })
  bundles.publish([bundle('web', 'r1')])
  const last = get(OWN, POLL)
  await get(OWN)
  bundles.stop()
  t.match(await last, { status: 304 })
})

t.test('a sidecar that lacks a feature is not given the bundle', async (t) => {
  const { bundles, get } = await start(t, [bundle('web', 'new', ['when/source.ip', 'b'])])
  const path = '/bundles/shop/web'
  const knows = { 'postern-features': 'b, when/source.ip,c' }
  t.match(await get(path, knows), { status: 200, body: 'web new' })
  t.match(await get(path), {
    status: 406,
    headers: { 'postern-withheld': 'when/source.ip,b' },
    body: /lacks when\/source.ip, b/,
  })
  t.match(await get(path, { 'postern-features': 'b' }), {
    status: 406,
    headers: { 'postern-withheld': 'when/source.ip' },
  })
  const held = { 'if-none-match': '"old"' }
  t.match(await get(path, held), { status: 304, headers: { 'postern-withheld': /./ }, body: '' })

  const waiting = get(path, { ...held, prefer: 'wait=100' })
  await get(path, knows)
  bundles.publish([bundle('web', 'newer')])
  t.match(await waiting, { status: 200, body: 'web newer' }, 'what needs nothing is given at once')
})
