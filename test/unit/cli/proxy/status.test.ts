import t from 'tap'
import {
  formatProxies,
  formatProxy,
  type ProxyOverview,
  readOverviews,
  svidText,
} from '../../../../cli/proxy/status.ts'

const well: ProxyOverview = {
  nodeId: 'shop/web/uid',
  workload: 'shop/web',
  ...{ connected: true, ready: true, detail: '', version: '0.2.0', envoyVersion: '1.40.0' },
  ...{ features: ['proxy/query'], missingFeatures: [] },
  sync: { cluster: { status: 'SYNCED' }, listener: { status: 'SYNCED' } },
  ...{
    enforcedGeneration: 'aaaaaaaaaaaa',
    ackedGeneration: 'aaaaaaaaaaaa',
    newestGeneration: 'aaaaaaaaaaaa',
  },
  ...{ bundleRevision: 'bbbbbbbbbbbb', newestRevision: 'bbbbbbbbbbbb' },
  svidNotAfterMs: 3_600_000,
  nacks: [],
}
const behind: ProxyOverview = {
  ...well,
  workload: 'shop/orders',
  sync: { cluster: { status: 'STALE', seconds: 7 }, listener: { status: 'NACKED', seconds: 9 } },
  ackedGeneration: 'cccccccccccc',
  newestGeneration: 'cccccccccccc',
  newestRevision: 'dddddddddddd',
  lagSeconds: 7,
  missingFeatures: ['when/source.ip'],
  svidNotAfterMs: 1,
  nacks: [
    {
      typeUrl: 'a.b.Listener',
      names: ['inbound/1'],
      message: `cannot \u001b[31mbind ${'x'.repeat(99)}`,
    },
  ],
}

t.test('a line for each proxy', async (t) => {
  const lines = formatProxies([well, behind], 0).split('\n')
  t.match(lines[0], /^PROXY +CONNECTED +READY +SIDECAR +ENVOY +SDS +CDS +EDS +ECDS +LDS +RDS/)
  t.match(
    lines[1],
    /^shop\/web +yes +yes +0\.2\.0 +1\.40\.0 +- +SYNCED .* bbbbbbbb +aaaaaaaa +0s +in 60m +-$/,
  )
  t.match(
    lines[2],
    /STALE 7s +- +- +NACKED .* bbbbbbbb \(newest dddddddd\) +aaaaaaaa \(newest cccccccc\) +7s/,
  )
  t.match(lines[2], /when\/source\.ip +inbound\/1: cannot \\u001b\[31mbind x+…$/)
})

t.test('one proxy: ACK and enforcement stand apart', async (t) => {
  const text = formatProxy(behind, 5000)
  t.match(
    text,
    /Generation: +enforced aaaaaaaaaaaa\n +acknowledged cccccccccccc\n +newest cccccccccccc/,
  )
  t.match(text, /SVID ends: +ENDED/)
  t.match(text, /NACKs:\n {2}Listener inbound\/1: cannot/)
  t.match(formatProxy(well, 0), /NACKs:\n {2}<none>/)
})

t.test('an end that nobody told, or that is past', async (t) => {
  t.equal(svidText(0, 5), '-')
  t.equal(svidText(4, 5), 'ENDED')
  t.equal(svidText(7_200_000 + 5, 5), 'in 2h')
})

t.test('what a controller of 0.1 doesn’t say is unknown', async (t) => {
  const nack = { typeUrl: 'a.b.Listener', message: 'refused' }
  const said = { nodeId: 'shop/web/uid', connected: true, ready: true, detail: 'd' }
  const items = [{ ...said, enforcedGeneration: 'aaaaaaaaaaaa', bundleRevision: '', nacks: [nack] }]
  const proxies = readOverviews({ items })
  const [only] = proxies
  t.match(formatProxies(proxies, 0), /^shop\/web +yes +yes +- +- .*aaaaaaaa +0s +- +- +: refused$/m)
  t.match(only && formatProxy(only, 0), /^ENDS|^Missing: +-$/m)
  t.same(readOverviews({ items: [well] }), [well])
})
