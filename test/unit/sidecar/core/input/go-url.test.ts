import t from 'tap'
import { cut, parsePath, parseQuery } from '../../../../../sidecar/core/input/go-url.ts'

/** The first nine are opa-envoy-plugin's own (TestParsedPathAndQuery); the rest were answered by Go 1.26. */
const good: readonly [string, string[], Record<string, string[]>][] = [
  ['/my/test/path', ['my', 'test', 'path'], {}],
  ['/my/test/path?a=1', ['my', 'test', 'path'], { a: ['1'] }],
  ['/my/test/path?a=1&a=2', ['my', 'test', 'path'], { a: ['1', '2'] }],
  ['/my/test/path?a=1&b=2', ['my', 'test', 'path'], { a: ['1'], b: ['2'] }],
  ['/my/test/path?a=1&a=new%0aline', ['my', 'test', 'path'], { a: ['1', 'new\nline'] }],
  ['%2Fmy%2Ftest%2Fpath?a=1&a=new%0aline', ['my', 'test', 'path'], { a: ['1', 'new\nline'] }],
  ['//x/people', ['x', 'people'], {}],
  ['//admin/dashboard', ['admin', 'dashboard'], {}],
  ['//x/people?a=1', ['x', 'people'], { a: ['1'] }],
  ['', [''], {}],
  ['/', [''], {}],
  ['/a//b/', ['a', '', 'b', ''], {}],
  ['/a+b/%2e%2e/c', ['a+b', '..', 'c'], {}],
  ['/%c3%a9/é', ['é', 'é'], {}],
  ['/a%3Fb?c?d=e', ['a?b'], { 'c?d': ['e'] }],
  ['/x?&&a&=v&b=', ['x'], { a: [''], '': ['v'], b: [''] }],
  ['/x?a+b=c+d&%2B=%26', ['x'], { 'a b': ['c d'], '+': ['&'] }],
  ['/x?__proto__=1&constructor=2', ['x'], JSON.parse('{"__proto__":["1"],"constructor":["2"]}')],
]
for (const [path, segments, query] of good)
  t.test(`${JSON.stringify(path)} is read as Go reads it`, async (t) => {
    t.same(parsePath(path), segments)
    t.equal(JSON.stringify(parseQuery(cut(path, '?')[1])), JSON.stringify(query))
  })

t.test('bytes that are no UTF-8 become U+FFFD', async (t) => {
  t.same(parsePath('/a%ff'), ['a\ufffd'])
})

for (const path of ['/%zz', '/a%', '/a%2', '/%u0041', '/ok/%G0?a=1'])
  t.test(`the path ${path} is refused`, async (t) => {
    t.throws(() => parsePath(path), { code: 'ERR_INPUT_INVALID' })
  })

for (const query of ['a=%zz', '%=1', 'a;b', 'a=1;b=2', 'a=%2'])
  t.test(`the query ${query} is refused`, async (t) => {
    t.throws(() => parseQuery(query), { code: 'ERR_INPUT_INVALID' })
  })
