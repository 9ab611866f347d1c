/** What /healthz, /readyz and /metrics answer, over a real port; Envoy's metrics from a real Unix socket. */
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { EnvoyMetrics } from '../../sidecar/adapters/envoy/envoy-metrics.ts'
import { type HealthFacts, HealthServer } from '../../sidecar/adapters/http/health.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

type Test = Parameters<typeof tempDir>[0]

const facts: HealthFacts = {
  ready: true,
  detail: '',
  identity: {
    spiffeId: 'spiffe://shop.example/ns/shop/sa/web',
    notAfterMs: 1_800_000_000_000,
  },
}
const OWN = { contentType: 'text/plain; version=0.0.4', text: async () => 'postern_ready 1\n' }

/** A health server in front of an admin socket that answers by `admin`. */
async function start(t: Test, admin: Parameters<typeof createServer>[1], now = () => facts) {
  const socketPath = join(tempDir(t), 'admin.sock')
  const envoy: Server = createServer(admin ?? (() => {}))
  await new Promise<void>((resolve) => envoy.listen(socketPath, resolve))
  const metrics = new EnvoyMetrics(socketPath)
  const source = { ...OWN, envoyLines: () => metrics.lines() }
  const health = new HealthServer('127.0.0.1:0', now, source)
  await health.start()
  t.teardown(async () => {
    await health.stop()
    envoy.closeAllConnections()
    envoy.close()
  })
  const get = (path: string, init?: RequestInit) =>
    fetch(`http://127.0.0.1:${health.port()}${path}`, init)
  return { health, envoy, metrics, get }
}

t.test('answers by what is so now', async (t) => {
  let now = facts
  const { get } = await start(
    t,
    (_, res) => res.end(),
    () => now,
  )
  t.equal((await get('/readyz')).status, 200)
  t.match(await (await get('/healthz')).json(), { identity: { state: 'valid' } })
  now = { ready: false, detail: 'no identity', identity: undefined }
  const ready = await get('/readyz')
  t.equal(ready.status, 503)
  t.match(await ready.json(), { detail: 'no identity' })
  const alive = await get('/healthz')
  t.equal(alive.status, 200, 'a restart would not bring the identity back')
  t.match(await alive.json(), { identity: { state: 'none' } })
  t.equal((await get('/admin')).status, 404)
  t.equal((await get('/readyz', { method: 'POST' })).status, 404)
  t.equal((await get('/metrics', { method: 'POST' })).status, 404)
})

t.test('Envoy’s metrics follow the own ones, and none that poses as ours', async (t) => {
  const said =
    '# TYPE envoy_a counter\nenvoy_a{x="1"} 2\n# TYPE postern_ready gauge\npostern_ready 0\n'
  const { get, metrics } = await start(t, (req, res) => {
    t.match(req.url, /^\/stats\/prometheus\?usedonly&filter=/)
    res.end(said)
  })
  const response = await get('/metrics')
  t.equal(response.headers.get('content-type'), OWN.contentType)
  t.equal(await response.text(), 'postern_ready 1\n# TYPE envoy_a counter\nenvoy_a{x="1"} 2\n')
  t.equal(metrics.failures(), 0)
})

t.test('an Envoy that is away, refuses, or breaks off costs its own metrics only', async (t) => {
  let answer: (res: import('node:http').ServerResponse) => void = (res) => res.writeHead(503).end()
  const { get, envoy, metrics } = await start(t, (_, res) => answer(res))
  t.equal(await (await get('/metrics')).text(), 'postern_ready 1\n')
  answer = (res) => {
    res.writeHead(200, { 'content-length': 1000 })
    res.write('envoy_a 1\nenvoy_b', () => res.destroy())
  }
  t.match(await (await get('/metrics')).text(), /^postern_ready 1\nenvoy_a 1\n/)
  envoy.closeAllConnections()
  await new Promise((resolve) => envoy.close(resolve))
  t.equal(await (await get('/metrics')).text(), 'postern_ready 1\n')
  t.equal(metrics.failures(), 3)
})

t.test('too much, and too many at once, is cut', async (t) => {
  const line = `envoy_a ${'1'.repeat(1000)}\n`
  const waiting: (() => void)[] = []
  const arrived = Promise.withResolvers<void>()
  let isEndless = true
  const { get, metrics } = await start(t, (_, res) => {
    if (isEndless) {
      const write = () => {
        while (!res.destroyed && res.write(line));
      }
      res.on('drain', write)
      write()
      return
    }
    waiting.push(() => res.end(line))
    if (waiting.length === 2) arrived.resolve()
  })
  const length = (await (await get('/metrics')).text()).length
  t.ok(length > 8e6 && length <= 8 * 1024 * 1024 + 20, `${length} bytes`)
  isEndless = false
  const two = [get('/metrics'), get('/metrics')]
  await arrived.promise
  t.equal(await (await get('/metrics')).text(), 'postern_ready 1\n', 'a third gets the own ones')
  for (const end of waiting) end()
  for (const response of await Promise.all(two)) t.match(await response.text(), /envoy_a/)
  t.equal(metrics.failures(), 2)
})

t.test('says which address cannot be had', async (t) => {
  const { health } = await start(t, (_, res) => res.end())
  const source = { ...OWN, envoyLines: async function* () {} }
  const second = new HealthServer(`127.0.0.1:${health.port()}`, () => facts, source)
  await t.rejects(second.start(), { code: 'ERR_CONFIG', message: /--health/ })
})

t.test('one address does not keep the others out', async (t) => {
  const { health, get } = await start(t, (_, res) => res.end())
  const port = health.port()
  const sockets = Array.from({ length: 300 }, () =>
    connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' }).on('error', () => {}),
  )
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  const isClosed = () => sockets.filter((socket) => socket.closed).length
  await waitFor(() => isClosed() === 300 - 32, { what: 'those too many to be closed' })
  t.equal((await get('/readyz')).status, 200)
  for (const socket of sockets) socket.destroy()
})
