/** Probes in the app's place: as the kubelet would judge, of what was listed, and of nothing else. */
import { createServer as createHttp } from 'node:http'
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import type { AppProbe } from '../../../../../common/app-probe.ts'
import { AppProbes } from '../../../../../sidecar/adapters/http/app-probes.ts'

const PATH = '/app-health/app/readyz'

function ask(probe: Partial<AppProbe> & Pick<AppProbe, 'kind' | 'port'>, path = PATH) {
  const probes = [{ path: PATH, ...probe }]
  return new AppProbes({ probes, address: '127.0.0.1' }).ask(path)
}

async function listen(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

t.test('http', async (t) => {
  const seen: (string | undefined)[] = []
  const server = createHttp((req, res) => {
    seen.push(req.socket.remoteAddress, req.headers.host, req.headers['x-a'] as string)
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://a')
    if (pathname === '/silent') return
    if (pathname === '/loop') return res.writeHead(302, { location: '/loop' }).end()
    const to = searchParams.get('to')
    res.writeHead(Number(pathname.slice(1)), to === null ? {} : { location: to }).end('secret')
  })
  const port = await listen(t, server)
  const at = (httpPath: string, more: Partial<AppProbe> = {}) =>
    ask({ kind: 'http', port, httpPath, ...more })
  const headers = [
    { name: 'Host', value: 'shop.example' },
    { name: 'X-A', value: 'b' },
  ]
  t.match(await at('/200', { headers }), { healthy: true })
  t.same(seen, ['127.0.0.6', 'shop.example', 'b'])
  for (const good of [
    '/204',
    '/399',
    '/302',
    '/302?to=/200',
    '/302?to=http://elsewhere.example/500',
  ])
    t.match(await at(good), { healthy: true }, good)
  for (const bad of [
    '/400',
    '/500',
    '/302?to=/500',
    `/302?to=${encodeURIComponent('/302?to=/503')}`,
  ])
    t.match(await at(bad), { healthy: false }, bad)
  t.match(await at('/loop'), { healthy: false, detail: /redirects/ })
  t.match(await at('/silent'), { healthy: false, detail: 'ABORT_ERR' })
  t.notMatch(JSON.stringify(await at('/500')), /secret/)
  t.match(await at('/200', { scheme: 'HTTPS' }), { healthy: false }, 'no TLS there')
  server.closeAllConnections()
})

t.test('tcp', async (t) => {
  const server = createTcp((socket) => socket.end())
  const port = await listen(t, server)
  t.match(await ask({ kind: 'tcp', port }), { healthy: true })
  server.close()
  t.match(await ask({ kind: 'tcp', port }), { healthy: false, detail: 'ECONNREFUSED' })
})

t.test('a flood of questions is one', async (t) => {
  let calls = 0
  const server = createHttp((_, res) => {
    calls += 1
    setImmediate(() => res.end())
  })
  const port = await listen(t, server)
  const probes = [{ path: PATH, kind: 'http' as const, port }]
  const app = new AppProbes({ probes, address: '127.0.0.1' })
  const answers = await Promise.all(Array.from({ length: 50 }, () => app.ask(PATH)))
  t.ok(answers.every((answer) => answer?.healthy))
  t.equal(calls, 1)
  await app.ask(PATH)
  t.equal(calls, 2, 'and the next one is asked anew')
})

t.test('grpc', async (t) => {
  const names: string[] = []
  const server = new grpc.Server()
  const bytes = { requestSerialize: (b: Buffer) => b, responseDeserialize: (b: Buffer) => b }
  const method = {
    ...bytes,
    path: '/grpc.health.v1.Health/Check',
    requestStream: false,
    responseStream: false,
    requestDeserialize: (b: Buffer) => ({ service: b.subarray(2).toString() }),
    responseSerialize: (status: number) => Buffer.of(8, status),
  }
  const check: grpc.handleUnaryCall<{ service: string }, number> = (call, reply) => {
    const { service } = call.request
    names.push(service)
    if (service === 'unknown') reply({ code: grpc.status.NOT_FOUND })
    else reply(null, service === 'down' ? 2 : 1)
  }
  server.addService({ check: method } as never, { check })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  t.teardown(() => server.forceShutdown())
  t.match(await ask({ kind: 'grpc', port }), { healthy: true })
  const long = 'x'.repeat(200)
  t.match(await ask({ kind: 'grpc', port, grpcService: long }), { healthy: true })
  t.match(await ask({ kind: 'grpc', port, grpcService: 'down' }), { healthy: false })
  t.match(await ask({ kind: 'grpc', port, grpcService: 'unknown' }), { healthy: false })
  t.match(names, ['', /x{200}$/, 'down', 'unknown'])
  const silent = await listen(
    t,
    createTcp(() => {}),
  )
  t.match(await ask({ kind: 'grpc', port: silent }), { healthy: false })
})

t.test('nothing else', async (t) => {
  for (const path of [
    '/app-health/app/livez',
    '/app-health/',
    `${PATH}/`,
    '/app-health/other/readyz',
  ])
    t.equal(await ask({ kind: 'tcp', port: 1 }, path), undefined)
})
