import t from 'tap'
import {
  MAX_BODY_BYTES,
  maskInput,
  maskResult,
} from '../../../../../sidecar/core/decision-log/mask.ts'
import { MASK } from '../../../../../sidecar/core/decision-log/mask-query.ts'

const AT = '/input/attributes/request/http'

function inputWith(http: object, more: object = {}) {
  return { attributes: { source: { principal: 'p' }, request: { time: 1, http } }, ...more }
}

t.test('credentials are replaced and named, everything else stays', async (t) => {
  const headers = {
    authorization: 'a',
    cookie: 'b',
    'proxy-authorization': 'c',
    'set-cookie': 'd',
    x: 'e',
  }
  const input = inputWith({ headers, method: 'GET' }, { parsed_path: ['x'] })
  const got = maskInput(input)
  t.same(got.value, {
    attributes: {
      source: { principal: 'p' },
      request: {
        time: 1,
        http: {
          headers: {
            ...{
              authorization: MASK,
              cookie: MASK,
              'proxy-authorization': MASK,
              'set-cookie': MASK,
            },
            x: 'e',
          },
          method: 'GET',
        },
      },
    },
    parsed_path: ['x'],
  })
  t.same(
    got.masked,
    ['authorization', 'cookie', 'proxy-authorization', 'set-cookie'].map(
      (h) => `${AT}/headers/${h}`,
    ),
  )
  t.equal(headers.authorization, 'a', 'the input itself is untouched')
})

t.test('credentials in raw headers are replaced too', async (t) => {
  const headerMap = {
    headers: [
      { key: 'Cookie', value: 'a' },
      { key: 'x', value: 'b' },
      { key: 'authorization', rawValue: 'Yw==' },
    ],
  }
  const got = maskInput(inputWith({ headerMap }))
  t.same(got.masked, [`${AT}/headerMap/headers/0`, `${AT}/headerMap/headers/2`])
  t.notMatch(JSON.stringify(got.value), /Yw==|"a"/)
})

t.test('a long body is cut at whole characters and its parsed form removed', async (t) => {
  const body = 'é'.repeat(MAX_BODY_BYTES)
  const got = maskInput(inputWith({ body }, { parsed_body: { secret: 1 }, truncated_body: false }))
  t.same(got.masked, [`${AT}/body`])
  t.same(got.erased, ['/input/parsed_body'])
  t.match(got.value, {
    attributes: { request: { http: { body: 'é'.repeat(MAX_BODY_BYTES / 2) } } },
  })
  t.notOk('parsed_body' in (got.value as object))
  const short = maskInput(inputWith({ body: 'x' }, { parsed_body: null }))
  t.same(short.erased, [])
  t.match(short.value, { parsed_body: null })
})

t.test('an input of another shape stays', async (t) => {
  for (const input of [{}, { attributes: 1 }, { attributes: { request: {} } }])
    t.same(maskInput(input), { value: input, masked: [], erased: [] })
})

t.test("credentials in a policy's result are replaced", async (t) => {
  const got = maskResult({
    allowed: true,
    headers: { Authorization: 'a', x: 'b' },
    response_headers_to_add: [{ 'set-cookie': ['c'] }, 1],
  })
  t.same(got.value, {
    allowed: true,
    headers: { Authorization: MASK, x: 'b' },
    response_headers_to_add: [{ 'set-cookie': MASK }, 1],
  })
  t.same(got.masked, [
    '/result/headers/Authorization',
    '/result/response_headers_to_add/0/set-cookie',
  ])
  t.same(maskResult(true).value, true)
})

t.test('headers that carry credentials by their name', async (t) => {
  const secret = ['X-Api-Key', 'apikey', 'x-auth-token', 'x_access_token', 'client-secret']
  const plain = ['x-request-id', 'x-token-type', 'monkey', 'traceparent']
  const headers = Object.fromEntries([...secret, ...plain].map((name) => [name, 'v']))
  const { masked } = maskInput(inputWith({ headers }))
  t.same(
    masked,
    secret.map((name) => `${AT}/headers/${name}`),
  )
})
