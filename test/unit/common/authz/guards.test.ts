/** What never gets to a rule. */
import t from 'tap'
import { findGuard } from '../../../../common/authz/guards.ts'

const ask = (path: string | undefined, peer?: string, protocol: 'http' | 'tcp' = 'http') =>
  findGuard({ protocol, path, peer })

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
