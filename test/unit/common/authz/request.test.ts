/** Normalised hosts, paths and namespaces. */
import t from 'tap'
import { cutQuery, namespaceOf, normaliseHost } from '../../../../common/authz/request.ts'

t.test('hosts lose case, then port, then one trailing dot', async (t) => {
  const hosts = [
    ['A.Example', 'a.example'],
    ['a:80', 'a'],
    ['a.:80', 'a'],
    ['a:', 'a'],
    ['a..', 'a.'],
    ['a:80.', 'a:80'],
    ['[::1]:80', '[::1]'],
    ['\u212A', '\u212A'],
    ['.', ''],
  ] as const
  for (const [host, wanted] of hosts) t.equal(normaliseHost(host), wanted, host)
})

t.test('the query is cut at the first question mark', async (t) => {
  t.equal(cutQuery('/a?b?c'), '/a')
  t.equal(cutQuery('/a'), '/a')
})

t.test('the namespace of a principal', async (t) => {
  const domains = { trustDomain: 'td' }
  t.equal(namespaceOf('spiffe://td/ns/a/sa/b', domains), 'a')
  for (const id of ['td/ns//sa/b', 'td/ns/a', 'td/ns/a/b/c', 'x/ns/a/sa/b', 'tdx/ns/a/sa/b']) {
    t.equal(namespaceOf(`spiffe://${id}`, domains), undefined, id)
  }
})
