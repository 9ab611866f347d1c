/** What never gets to a rule. */
import t from 'tap'
import { findGuard } from '../../../../common/authz/guards.ts'

const ask = (path: string | undefined, peer?: string, protocol: 'http' | 'tcp' = 'http') =>
  findGuard({ protocol, path, host: 'orders.shop', method: 'GET', peer })

const askHost = (host: string | undefined) =>
  findGuard({ protocol: 'http', path: '/', host, method: 'GET', peer: undefined })

t.test(
  'guard/host: one name or address, and nothing that two readers read differently',
  async (t) => {
    for (const host of ['a', 'A.b-c_d.9', '10.0.0.1', '[::1]', '[2001:db8::1]']) {
      t.equal(askHost(host), undefined, host)
    }
    for (const host of [
      undefined,
      '',
      'a,a',
      'a, a',
      'u@a',
      'a..',
      'a.',
      '.a',
      'a b',
      'a/b',
      'a:b',
      'a:80',
      'a:',
      'a:80:',
      'a:1:2',
      '[::1]:80',
      '[::1]:',
      '[::1]80',
      '%61',
      'a\n',
      '\xe9',
      '::1',
      '[a',
    ]) {
      t.equal(askHost(host), 'guard/host', JSON.stringify(host))
    }
    t.equal(
      findGuard({
        protocol: 'tcp',
        path: undefined,
        host: undefined,
        method: undefined,
        peer: undefined,
      }),
      undefined,
      'not on TCP',
    )
  },
)

t.test('guard/method: words in upper case', async (t) => {
  const askMethod = (method: string | undefined) =>
    findGuard({ protocol: 'http', path: '/', host: 'a', method, peer: undefined })
  for (const method of ['GET', 'M-SEARCH', 'QUERY']) t.equal(askMethod(method), undefined, method)
  for (const method of ['get', 'Post', 'GET ', 'A_B', '-', 'GET\n', '', undefined]) {
    t.equal(askMethod(method), 'guard/method', JSON.stringify(method))
  }
})

t.test('guard/path: printable ASCII with whole escapes', async (t) => {
  for (const path of [
    '/',
    '*',
    '/a%20b',
    '/a;x',
    '/a?',
    '/a?q=%zz',
    '/~!$&\'()*+,;=:@"<>',
    '/a#b',
  ]) {
    t.equal(ask(path), undefined, path)
  }
  const bad = [
    undefined,
    '',
    '?',
    '/%',
    '/%2',
    '/%zz',
    '/a b',
    '/\xe9',
    '/a?\xe9',
    '/a\n',
    '/a\u0000',
  ]
  for (const path of bad) t.equal(ask(path), 'guard/path', JSON.stringify(path))
  const up = [
    '..;',
    '.;x',
    '%2e%2E;/b',
    '%2e.%3Bx',
    '..%3bx',
    '..%20',
    '.%09/b',
    '..%1f',
    '..%7F',
    '..%23',
    '..%3Fq',
    '%20..',
    '%20../b',
    '%09..?q',
    '%7f.',
    '..%a0',
    '..%85/b',
    '..%C2%85',
    '%c2%a0../b',
    '%E2%80%A8%2e%2e',
    '%EF%BB%BF..',
    '..%E3%80%80/b',
    '.%E2%81%A0./b',
    '%20.%0a.%20/b',
    '%20..;x',
    '+..+/b',
    '...;',
    '%20...',
    '..%20b',
    '%c0%AE%C0%ae/b',
    '%E0%80%AE./b',
    '%e2%80%A5',
    '%EF%BC%8E%ef%bc%8e/b',
    '%20%EF%B9%92.+/b',
    '..%c0%afadmin',
    '%c0%ae%C0%AE%c0%af..',
    '..%c1%9Cx',
    '.%e0%80%afx',
    '..%EF%BC%8Fx',
    '%ef%b8%b0/b',
    'a%c0%af../b',
  ]
  for (const segment of up) t.equal(ask(`/a/${segment}`), 'guard/path', segment)
  const plain = [
    '..a;',
    'a..;',
    '.well-known',
    '..%40',
    '..%21;',
    ';..',
    'x?/..;/',
    '.%C3%A9',
    '%C3%A9..',
    '.%E2%80%A6',
    '%20',
    '%20..b',
    'a%20..',
    '..+b',
    '.%e2%80%a6',
    'x?/%20../',
  ]
  for (const segment of plain) t.equal(ask(`/a/${segment}`), undefined, segment)
  t.equal(ask(undefined, undefined, 'tcp'), undefined, 'TCP has no path')
})

t.test('guard/san and guard/identity: one SPIFFE id, or no certificate', async (t) => {
  t.equal(ask('/', 'spiffe://td/ns/a/sa/b'), undefined)
  t.equal(ask('/', ''), undefined, 'no certificate')
  t.equal(ask('/', 'spiffe://td/a,spiffe://td/b'), 'guard/san')
  for (const peer of ['a.example.com', 'O=x,CN=y', 'https://td/a', 'SPIFFE://td/a']) {
    t.equal(ask('/', peer), 'guard/identity', peer)
    t.equal(ask(undefined, peer, 'tcp'), 'guard/identity', peer)
  }
})
