import t from 'tap'
import {
  PolicyResultError,
  parseDenial,
  parseMutation,
} from '../../../../../sidecar/core/decision/policy-result.ts'

t.test("all of the plugin's fields of an allow are taken", async (t) => {
  t.same(
    parseMutation({
      allowed: true,
      headers: { 'x-a': 'b', 'x-c': ['d', 'e'] },
      response_headers_to_add: [{ 'x-foo': 'bar' }, { 'x-foo': 'baz' }],
      request_headers_to_remove: ['one-auth-header'],
      query_parameters_to_set: { a: '1', b: ['2', '3'] },
      query_parameters_to_remove: ['c'],
      dynamic_metadata: { foo: { test: 'bar' } },
      body: 1,
      http_status: 'ignored',
    }),
    {
      headers: [
        ['x-a', 'b'],
        ['x-c', 'd'],
        ['x-c', 'e'],
      ],
      headersToRemove: ['one-auth-header'],
      responseHeaders: [
        ['x-foo', 'bar'],
        ['x-foo', 'baz'],
      ],
      queryToSet: [
        ['a', '1'],
        ['b', '2'],
        ['b', '3'],
      ],
      queryToRemove: ['c'],
      dynamicMetadata: { foo: { test: 'bar' } },
    },
  )
})

t.test("all of the plugin's fields of a denial are taken, 403 by default", async (t) => {
  t.same(parseDenial({ http_status: 401, body: 'no', headers: { 'www-authenticate': 'Basic' } }), {
    status: 401,
    headers: [['www-authenticate', 'Basic']],
    body: 'no',
    dynamicMetadata: {},
  })
  t.same(parseDenial({ request_headers_to_remove: 'ignored' }), {
    status: 403,
    headers: [],
    body: '',
    dynamicMetadata: {},
  })
  for (const status of [301, 302, 303, 307, 308, 400, 404, 429, 500, 511])
    t.equal(parseDenial({ http_status: status }).status, status)
})

for (const status of [
  0,
  100,
  200,
  204,
  299,
  300,
  304,
  305,
  399,
  600,
  999,
  403.5,
  '403',
  null,
  true,
])
  t.test(`a denial with status ${String(status)} is refused`, async (t) => {
    t.throws(() => parseDenial({ http_status: status }), PolicyResultError)
  })

const names = [':path', ':method', ':authority', ':scheme', 'host', 'Host', 'content-length']
const more = ['Transfer-Encoding', 'connection', 'te', 'upgrade', 'a b', 'a:b', 'a\n', 'é', '']
for (const name of [...names, ...more])
  t.test(`${JSON.stringify(name)} is never set, added or removed`, async (t) => {
    for (const field of ['headers', 'response_headers_to_add'])
      t.throws(() => parseMutation({ [field]: { [name]: 'x' } }), PolicyResultError)
    t.throws(() => parseMutation({ request_headers_to_remove: [name] }), PolicyResultError)
    t.throws(() => parseDenial({ headers: { [name]: 'x' } }), PolicyResultError)
  })

for (const value of ['a\r\nb', 'a\nb', 'a\0', 'a\x7f', '\x1b', '\ud800'])
  t.test(`${JSON.stringify(value)} is no header value`, async (t) => {
    t.throws(() => parseMutation({ headers: { a: value } }), PolicyResultError)
  })

t.test('a header value may have tabs, blanks and UTF-8, and be empty', async (t) => {
  t.same(parseMutation({ headers: { a: '\t é ', b: '' } }).headers, [
    ['a', '\t é '],
    ['b', ''],
  ])
})

for (const text of ['a&b', 'a b', 'a#b', 'a\r\nb', 'é', '\0'])
  t.test(`${JSON.stringify(text)} gets into no query`, async (t) => {
    t.throws(() => parseMutation({ query_parameters_to_set: { a: text } }), PolicyResultError)
    t.throws(() => parseMutation({ query_parameters_to_set: { [text]: 'a' } }), PolicyResultError)
    t.throws(() => parseMutation({ query_parameters_to_remove: [text] }), PolicyResultError)
  })

const malformed: readonly [string, object][] = [
  ['headers as text', { headers: 'a: b' }],
  ['headers as numbers', { headers: { a: 1 } }],
  ['headers as nested lists', { headers: { a: [['b']] } }],
  ['headers as a list of text', { headers: ['a'] }],
  ['removal as an object', { request_headers_to_remove: { a: 1 } }],
  ['removal of numbers', { request_headers_to_remove: [1] }],
  ['query as a list', { query_parameters_to_set: ['a'] }],
  ['a query name with =', { query_parameters_to_set: { 'a=b': 'c' } }],
  ['metadata as a list', { dynamic_metadata: [] }],
  ['metadata null', { dynamic_metadata: null }],
]
for (const [name, result] of malformed)
  t.test(`${name} is refused`, async (t) => {
    t.throws(() => parseMutation(result as Record<string, unknown>), PolicyResultError)
  })

t.test('a body that is no text is refused', async (t) => {
  t.throws(() => parseDenial({ body: { a: 1 } }), PolicyResultError)
})
