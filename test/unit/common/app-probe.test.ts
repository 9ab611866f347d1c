/** What injection may write of probes, and what a sidecar refuses to read. */
import t from 'tap'
import { appProbePath, parseAppProbes } from '../../../common/app-probe.ts'

const GOOD = { path: appProbePath('app', 'readyz'), kind: 'http', port: 8080 }

t.test('all kinds', async (t) => {
  const probes = [
    GOOD,
    {
      ...GOOD,
      path: '/app-health/app/livez',
      httpPath: '/live?deep=1',
      scheme: 'HTTPS',
      headers: [{ name: 'Host', value: 'a.example' }],
      timeoutSeconds: 3,
    },
    { path: '/app-health/db-1/startupz', kind: 'tcp', port: 5432 },
    { path: '/app-health/rpc/livez', kind: 'grpc', port: 9000, grpcService: 'live' },
  ]
  t.same(parseAppProbes(JSON.stringify(probes)), probes)
  t.same(parseAppProbes('[]'), [])
})

t.test('anything else', async (t) => {
  const bad = [
    { path: '/metrics' },
    { path: '/app-health/App/readyz' },
    { path: '/app-health/../readyz' },
    { path: '/app-health/app/readyz/x' },
    { kind: 'exec' },
    { port: 0 },
    { port: '80' },
    { httpPath: 'http://other/' },
    { httpPath: '/a b' },
    { httpPath: '/a\r\nx: y' },
    { scheme: 'ftp' },
    { headers: { a: 'b' } },
    { headers: [{ name: 'a', value: 'b\r\nc: d' }] },
    { headers: [{ name: 'a b', value: 'c' }] },
    { headers: [null] },
    { grpcService: 1 },
    { timeoutSeconds: 0 },
    { host: 'other.example' },
  ]
  for (const change of bad)
    t.type(parseAppProbes(JSON.stringify([{ ...GOOD, ...change }])), 'string', change)
  for (const text of ['', 'x', '{}', '[1]', '[null]', JSON.stringify([GOOD, GOOD])])
    t.type(parseAppProbes(text), 'string', text)
})
