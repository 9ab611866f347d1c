import { stat } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { MeshError } from '../../../../../common/errors.ts'
import { Secret } from '../../../../../common/secret.ts'
import { type AdminOptions, AdminServer } from '../../../../../controller/adapters/http/admin.ts'
import { HealthServer } from '../../../../../controller/adapters/http/health.ts'
import { keyOf } from '../../../../../controller/core/accept/objects.ts'
import { makeMesh, makePolicy } from '../../../../kit/objects.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const objects = [makeMesh(), makePolicy('a'), makePolicy('b'), makePolicy('other/a')]

t.test('admin socket', async (t) => {
  const socketPath = join(tempDir(t), 'admin.sock')
  const options: AdminOptions = {
    socketPath,
    objects: () => new Map(objects.map((o) => [keyOf(o), o])),
    problems: () => [],
    views: {
      proxies: () => ({ items: [] }),
      published: () => ({ generation: 'g' }),
      echo: async (words) => (words[0] === 'nothing' ? undefined : words),
    },
    createJoinToken: async ({ workload, ttlSeconds }) => {
      if (workload === 'shop/none') throw new MeshError('ERR_WORKLOAD_NOT_FOUND', 'there is none')
      if (workload === 'shop/bug') throw new Error('secret detail')
      return { token: new Secret(`${workload} ${ttlSeconds}`), expiresMs: 0 }
    },
    log: silent,
  }
  const server = new AdminServer(options)
  await server.start()
  t.teardown(() => server.stop())

  const call = (method: string, path: string, body?: string) =>
    new Promise<{ status: number; body: Record<string, unknown> }>((resolve, reject) => {
      const r = request({ socketPath, method, path, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }),
        )
      })
      r.on('error', reject).end(body)
    })
  const api = (path: string) => call('GET', `/apis/postern.dev/v1alpha1/${path}`)
  const names = async (path: string) =>
    ((await api(path)).body.items as { metadata: { namespace?: string; name: string } }[]).map(
      ({ metadata: m }) => `${m.namespace ?? ''}/${m.name}`,
    )

  t.equal((await stat(socketPath)).mode & 0o777, 0o600)
  t.match(await api('authorizationpolicies'), {
    status: 200,
    body: { kind: 'AuthorizationPolicyList', apiVersion: 'postern.dev/v1alpha1' },
  })
  t.same(await names('authorizationpolicies'), ['shop/a', 'shop/b', 'other/a'])
  t.same(await names('namespaces/other/authorizationpolicies'), ['other/a'])
  t.same(await names('meshes'), ['/mesh'])
  t.match(await api('meshes/mesh'), { status: 200, body: { kind: 'Mesh' } })
  t.match(await api('namespaces/shop/authorizationpolicies/b'), {
    body: { metadata: { name: 'b' } },
  })
  t.match(await api('namespaces/shop/authorizationpolicies/c'), { status: 404 })
  t.match(await api('secrets'), { status: 404 })
  t.match(await api('namespaces/%ZZ/authorizationpolicies'), { body: { items: [] } })
  t.match(await call('GET', '/problems'), { status: 200, body: { items: [] } })
  t.match(await call('GET', '/proxies'), { status: 200, body: { items: [] } })
  t.match(await call('GET', '/published'), { body: { generation: 'g' } })
  t.match(await call('GET', '/echo/a%2Fb/c?x=1'), { status: 200, body: ['a/b', 'c'] })
  t.match(await call('GET', '/echo/nothing'), { status: 404 })
  t.match(await call('GET', '/constructor/x'), { status: 404 })
  t.match(await call('DELETE', '/problems'), { status: 405 })

  const token = (body: string) => call('POST', '/tokens', body)
  t.match(await token('{"workload":"shop/a","ttlSeconds":60}'), {
    status: 201,
    body: { token: 'shop/a 60', expires: '1970-01-01T00:00:00.000Z' },
  })
  t.match(await token('{"workload":"shop/none"}'), {
    status: 404,
    body: { message: 'there is none' },
  })
  for (const bad of ['', 'x', '[]', '{"workload":7}', '{"workload":"a","ttlSeconds":"60"}']) {
    t.match(await token(bad), { status: 400 }, bad)
  }
  t.match(await token(`"${'x'.repeat(70_000)}"`), { status: 400, body: { message: /too large/ } })
  const bug = await token('{"workload":"shop/bug"}')
  t.equal(bug.status, 500)
  t.notMatch(JSON.stringify(bug.body), /secret detail/)
  t.match(await call('GET', '/tokens'), { status: 405 })

  const long = new AdminServer({ ...options, socketPath: `/tmp/${'x'.repeat(110)}` })
  await t.rejects(long.start(), { code: 'ERR_CONFIG', message: /107 bytes/ })
})

t.test('health', async (t) => {
  let why: string | undefined = 'nothing is published yet'
  const server = new HealthServer({
    host: '127.0.0.1',
    port: 0,
    whyNotReady: () => why,
    metrics: { contentType: 'text/plain; version=0.0.4', text: async () => 'a 1\n' },
  })
  await server.start()
  t.teardown(() => server.stop())
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.port()}${path}`)
    return { status: response.status, text: await response.text() }
  }
  t.same(await get('/healthz'), { status: 200, text: 'ok\n' })
  t.same(await get('/readyz'), { status: 503, text: 'nothing is published yet\n' })
  why = undefined
  t.same(await get('/readyz'), { status: 200, text: 'ok\n' })
  t.equal((await get('/other')).status, 404)
  t.equal((await get('/metrics')).text, 'a 1\n')
  const second = new HealthServer({
    host: '127.0.0.1',
    port: server.port(),
    whyNotReady: () => undefined,
    metrics: { contentType: 'text/plain', text: async () => '' },
  })
  await t.rejects(second.start(), { code: 'ERR_CONFIG' })
})
