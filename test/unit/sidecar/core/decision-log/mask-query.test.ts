import t from 'tap'
import { maskInput } from '../../../../../sidecar/core/decision-log/mask.ts'
import { MASK, maskQuery } from '../../../../../sidecar/core/decision-log/mask-query.ts'

const SECRET = 's3cr3t'

t.test('values of secret parameters never stay, whatever the name looks like', async (t) => {
  const names = [
    ...[
      'access_token',
      'id_token',
      'token',
      'api_key',
      'apikey',
      'apiKey',
      'api-key',
      'accessToken',
    ],
    ...['client_secret', 'password', 'passwd', 'pwd', 'X-Amz-Signature', 'X-Amz-Credential', 'sig'],
    ...['code', 'key', 'jwt', 'client_assertion', 'sessionId', 'session', 'auth', 'Authorization'],
    ...[
      'X-Amz-Security-Token',
      'access%5Ftoken',
      '%61ccess_token',
      'AWSAccessKey',
      'user.password',
    ],
  ]
  for (const name of names) {
    const { value, names: masked } = maskQuery(`/p?a=1&${name}=${SECRET}&b=2`)
    t.equal(value, `/p?a=1&${name}=${MASK}&b=2`)
    t.same(masked, [name])
  }
})

t.test('the rest is as it was', async (t) => {
  for (const path of [
    '/p',
    '/p?',
    '/p?a',
    '/p?token',
    '/p?token=',
    '/p?page=2;sort=asc&&=x',
    '/token=1',
  ])
    t.equal(maskQuery(path).value, path)
  for (const name of ['country_code', 'sort_key', 'tokens_left', 'monkey', 'design', 'author'])
    t.equal(maskQuery(`/p?${name}=1`).value, `/p?${name}=1`)
  t.equal(maskQuery('/p?token=a;token=b?c&x=%').value, `/p?token=${MASK};token=${MASK}&x=%`)
})

t.test('a decision’s input: path, parsed query and headers that hold a path', async (t) => {
  const path = `/p?access_token=${SECRET}&a=1`
  const http = { path, headers: { ':path': path, referer: `https://x/${path}` } }
  const { value, masked } = maskInput({
    attributes: { request: { http } },
    parsed_query: { access_token: [SECRET], a: ['1'] },
  })
  t.notMatch(JSON.stringify(value), SECRET)
  t.match(value, { parsed_query: { access_token: [MASK], a: ['1'] } })
  t.same([...masked].sort(), [
    '/input/attributes/request/http/headers/:path',
    '/input/attributes/request/http/headers/referer',
    '/input/attributes/request/http/path',
    '/input/parsed_query/access_token',
  ])
})
