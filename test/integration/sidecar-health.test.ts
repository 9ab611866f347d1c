/** What /healthz, /readyz and /metrics answer, over a real port. */
import t from 'tap'
import { type HealthFacts, HealthServer } from '../../sidecar/adapters/http/health.ts'

const facts: HealthFacts = {
  ready: true,
  detail: '',
  identity: { spiffeId: 'spiffe://shop.example/ns/shop/sa/web', notAfterMs: 1_800_000_000_000 },
  controllerConnected: true,
  envoyRestarts: 2,
  enforcedGeneration: 'g',
  bundleRevision: 'b',
  decisionsLost: 0,
  decisionLogGaps: 0,
}

t.test('answers by what is so now', async (t) => {
  let now = facts
  const health = new HealthServer('127.0.0.1:0', () => now)
  await health.start()
  t.teardown(() => health.stop())
  const get = (path: string) => fetch(`http://127.0.0.1:${health.port()}${path}`)
  t.equal((await get('/readyz')).status, 200)
  t.match(await (await get('/healthz')).json(), { identity: { state: 'valid' } })
  const metrics = await (await get('/metrics')).text()
  t.match(metrics, /^postern_svid_expiry_timestamp_seconds 1800000000$/m)
  t.match(metrics, /^postern_envoy_restarts_total 2$/m)
  t.match(metrics, /^postern_enforced_info\{generation="g",bundle="b"\} 1$/m)
  now = { ...facts, ready: false, detail: 'no identity', identity: undefined }
  const ready = await get('/readyz')
  t.equal(ready.status, 503)
  t.match(await ready.json(), { detail: 'no identity' })
  const alive = await get('/healthz')
  t.equal(alive.status, 200, 'a restart would not bring the identity back')
  t.match(await alive.json(), { identity: { state: 'none' } })
  t.match(await (await get('/metrics')).text(), /^postern_svid_expiry_timestamp_seconds 0$/m)
  t.equal((await get('/admin')).status, 404)
  t.equal((await fetch(`http://127.0.0.1:${health.port()}/readyz`, { method: 'POST' })).status, 404)
})

t.test('says which address cannot be had', async (t) => {
  const first = new HealthServer('127.0.0.1:0', () => facts)
  await first.start()
  t.teardown(() => first.stop())
  const second = new HealthServer(`127.0.0.1:${first.port()}`, () => facts)
  await t.rejects(second.start(), { code: 'ERR_CONFIG', message: /--health/ })
})
