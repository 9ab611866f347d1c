/** A real Envoy is asked the same by drills/explain.ts and test/integration/docs-traffic.test.ts. */
import t from 'tap'
import {
  arriveHeaders,
  checkMethod,
  normalisePath,
  normaliseSentHost,
  readTarget,
} from '../../../../common/authz/arrival.ts'
import { readTables } from '../../../kit/doc-tables.ts'

const path = (sent: string) => {
  const arrival = normalisePath(sent)
  return arrival.ok ? arrival.value : arrival.status
}

t.test('paths as the documentation has them', async (t) => {
  const sections = readTables('docs/reference/traffic.md')
  const rows = sections.find(({ title }) => title === 'Paths')?.rows ?? []
  t.ok(rows.length > 10)
  for (const [sent = '', seen = ''] of rows) {
    t.equal(path(sent.replaceAll('`', '')), seen.replaceAll('`', ''), sent)
  }
})

t.test('what else Envoy 1.40 was seen to do with paths', async (t) => {
  const seen: readonly (readonly [string, string | number])[] = [
    ['/a/..;x/b', '/b'],
    ['/a/.;x/b', '/a/b'],
    ['/a/%2e%2e;x/b', '/a/..;x/b'],
    ['/a/..%3bx/b', '/a/..%3bx/b'],
    ['/a/...;x/b', '/a/...;x/b'],
    ['/a/..;x\\c', '/'],
    ['/..', '/'],
    ['/a/..', '/'],
    ['/a/b/.', '/a/b/'],
    ['//', '//'],
    ['/%2f/', '//'],
    ['//a//', '/a/'],
    ['/%zz', '/%zz'],
    ['/%2%61', '/%252a'],
    ['/%%41%42', '/%25AB'],
    ['/%4%31', '/%2541'],
    ['/%2%4Fa', '/%2Oa'],
    ['/%7E%2D%5F', '/~-_'],
    ['/a|b^c"d', '/a%7Cb%5Ec%22d'],
    ["/a[b]'c", "/a[b]'c"],
    ['/a?b=%2e#', 400],
    ['/a b', 400],
    ['/a%00', 400],
    ['*', 404],
    ['', 404],
  ]
  for (const [sent, want] of seen) t.equal(path(sent), want, sent)
})

t.test('hosts lose their port and one dot at the end', async (t) => {
  const host = (sent: string) => {
    const arrival = normaliseSentHost(sent)
    return arrival.ok ? arrival.value : arrival.status
  }
  const seen = {
    'a.b:80': 'a.b',
    'a.b.': 'a.b',
    'a.b.:80': 'a.b',
    'A.b': 'A.b',
    'a..': 'a.',
    'a:': 'a:',
    'a:b': 'a:b',
    'a:80:80': 'a:80',
    'a:80:': 'a:80:',
    'a:80.': 'a',
    'a:+80': 'a',
    'a:4294967295': 'a',
    'a:4294967296': 'a:4294967296',
    '[::1]:80:80': '[::1]:80',
    '[::1]': '[::1]',
    '[::1]:80': '[::1]',
  }
  for (const [sent, want] of Object.entries(seen)) t.equal(host(sent), want, sent)
})

t.test('targets that are no path, as Envoy 1.40 was seen to take them', async (t) => {
  const seen: readonly (readonly [string, string | number])[] = [
    ['GET /a', '/a @ h'],
    ['OPTIONS *', '* @ h'],
    ['GET *', 400],
    ['GET a', 400],
    ['GET ', 400],
    ['GET http://o.shop', '/ @ o.shop'],
    ['GET http://o.shop?q=1', '?q=1 @ o.shop'],
    ['GET HTTPS://O.shop:80/a/../b', '/a/../b @ O.shop:80'],
    ['GET http://u:p@o.shop/a', '/a @ o.shop'],
    ['GET http://[::1]:80/a', '/a @ [::1]:80'],
    ['GET http://a..b/a', '/a @ a..b'],
    ['GET http:o.shop/a', 400],
    ['GET http:///a', 400],
    ['GET http://o.shop:/a', 400],
    ['GET http://o.shop:80:80/a', 400],
    ['GET http://o.shop:99999/a', 400],
    ['GET http://o%2eshop/a', 400],
    ['GET http://o.shop#b', 400],
    ['GET http://o.shop\\a', 400],
    ['GET http://a_b/a', 400],
    ['GET http://a,b/a', 400],
    ['GET ws://o.shop/a', 400],
    ['GET ftp://o.shop/a', 400],
  ]
  for (const [line, want] of seen) {
    const [method = '', target = ''] = line.split(' ')
    const got = readTarget(method, target, 'h')
    t.equal(got.ok ? `${got.path} @ ${got.host}` : got.status, want, line)
  }
})

t.test('headers: joined, trimmed, taken away, refused', async (t) => {
  const { headers, removed } = arriveHeaders([
    ['X-A', ' 1 '],
    ['x-a', '2'],
    ['X-Envoy-Retry-On', '5xx'],
    ['x-postern-decision-id', 'mine'],
    ['X-Forwarded-Client-Cert', 'me'],
  ])
  t.same(headers, { 'x-a': '1,2' })
  t.same(removed, ['x-envoy-retry-on', 'x-postern-decision-id', 'x-forwarded-client-cert'])
  const status = (name: string, value: string) => arriveHeaders([[name, value]]).refusal?.status
  t.equal(status('a_b', '1'), 400)
  t.equal(status('a b', '1'), 400)
  t.equal(status('a', '1\u0001'), 400)
  t.equal(status('a', 'ü\t1'), undefined)
})

t.test('methods that HTTP/1.1 knows', async (t) => {
  for (const method of ['GET', 'PATCH', 'QUERY']) t.ok(checkMethod(method, true).ok, method)
  for (const method of ['get', 'FOO', 'CONNECT', '']) t.notOk(checkMethod(method, true).ok, method)
  t.notOk(checkMethod('QUERY', false).ok, 'a QUERY without content-type')
})
