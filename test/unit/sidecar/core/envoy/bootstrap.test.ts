/** The bootstrap has no listener of its own, speaks only to this sidecar, and carries the secret in one place. */
import t from 'tap'
import { Secret } from '../../../../../common/secret.ts'
import {
  buildBootstrap,
  runPaths,
  tooLongSocketPath,
} from '../../../../../sidecar/core/envoy/bootstrap.ts'

const text = buildBootstrap({
  nodeId: 'shop/web/uid',
  workload: 'shop/web',
  paths: runPaths('/run/postern'),
  secret: new Secret('s3cret'),
  maxConnections: 5,
  maxHeapBytes: 1000,
})
const bootstrap = JSON.parse(text)

t.test('nothing listens but the admin, on a socket for its owner only', async (t) => {
  t.same(Object.keys(bootstrap.staticResources), ['clusters'])
  t.match(bootstrap.admin.address, { pipe: { path: '/run/postern/admin.sock', mode: 0o600 } })
})

t.test('all clusters are Unix sockets of the run directory', async (t) => {
  const ends = bootstrap.staticResources.clusters.map(
    (c: { name: string; loadAssignment: { endpoints: { lbEndpoints: unknown[] }[] } }) => [
      c.name,
      JSON.stringify(c.loadAssignment.endpoints).match(/"path":"([^"]*)"/)?.[1],
    ],
  )
  t.same(ends, [
    ['postern_sidecar', '/run/postern/xds.sock'],
    ['postern_authz', '/run/postern/authz.sock'],
    ['postern_als', '/run/postern/xds.sock'],
  ])
})

t.test('listeners and clusters come by delta ADS, with the secret', async (t) => {
  t.match(bootstrap.dynamicResources, {
    adsConfig: {
      apiType: 'DELTA_GRPC',
      transportApiVersion: 'V3',
      grpcServices: [{ initialMetadata: [{ key: 'x-postern-secret', value: 's3cret' }] }],
    },
    cdsConfig: { ads: {}, resourceApiVersion: 'V3' },
    ldsConfig: { ads: {}, resourceApiVersion: 'V3' },
  })
  t.equal(text.split('s3cret').length, 2)
})

t.test('says which socket path is too long for the kernel', async (t) => {
  t.equal(tooLongSocketPath(runPaths('/run/postern')), undefined)
  const dir = `/${'d'.repeat(96)}`
  t.equal(tooLongSocketPath(runPaths(dir)), `${dir}/admin.sock`)
  t.equal(tooLongSocketPath(runPaths(dir.slice(1))), undefined, '107 bytes fit')
})
