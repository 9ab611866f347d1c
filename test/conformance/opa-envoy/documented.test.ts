/**
 * OPA's own Envoy policies, unchanged (fixtures/ORIGIN.md), through the real check worker: the answers that its
 * documentation gives. Each decision is also compared with what `opa eval` says to the same input.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import t from 'tap'
import {
  CheckRequestSchema,
  type CheckResponse,
} from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toRegoInput } from '../../../sidecar/core/input/input.ts'
import { makeAttributes, makeBundle, makeRegoPolicy, makeSet, startCheck } from '../../kit/check.ts'
import { compileRego } from '../../kit/rego.ts'
import { tempDir } from '../../kit/tempdir.ts'
import { toolPath } from '../../kit/tools.ts'

const FIXTURES = join(import.meta.dirname, 'fixtures')

/** The documentation's tokens (HS256, `secret`): alice is guest, bob is admin. */
const ALICE =
  'Bearer eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJleHAiOiAyMjQxMDgxNTM5LCAibmJmIjogMTUxNDg1MTEzOSwgInJvbGUiOiAiZ3Vlc3QiLCAic3ViIjogIllXeHBZMlU9In0.Uk5hgUqMuUfDLvBLnlXMD0-X53aM_Hlziqg3vhOsCc8'
const BOB =
  'Bearer eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJleHAiOiAyMjQxMDgxNTM5LCAibmJmIjogMTUxNDg1MTEzOSwgInJvbGUiOiAiYWRtaW4iLCAic3ViIjogIlltOWkifQ.5qsm7rRTvqFHAgiB6evX0a_hWnGbWquZC0HImVQPQo8'

interface Call {
  readonly says: string
  readonly method?: string
  readonly path: string
  readonly authorization?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: string
  readonly status: number
  /** What else the answer must hold. */
  readonly answer?: object
}

interface Documented {
  readonly fixture: string
  readonly entrypoint?: string
  readonly isV0?: boolean
  /** Rego that the page speaks of but leaves out. */
  readonly supplement?: string
  readonly calls: readonly Call[]
}

function basic(user: string): string {
  return `Basic ${Buffer.from(`${user}:password`).toString('base64')}`
}

function person(firstname: string): string {
  return JSON.stringify({ firstname, lastname: 'Bar' })
}

const BACKEND =
  'By=spiffe://domain.test/db-server;Hash=ab12;URI=spiffe://domain.test/backend-server'

const documented: readonly Documented[] = [
  {
    fixture: 'tutorial-standalone-envoy',
    calls: [
      { says: 'alice may list', path: '/people', authorization: ALICE, status: 200 },
      { says: 'bob may list', path: '/people', authorization: BOB, status: 200 },
      {
        says: 'alice may not create',
        ...{ method: 'POST', path: '/people', authorization: ALICE, body: person('Foo') },
        status: 403,
      },
      {
        says: 'bob may create',
        ...{ method: 'POST', path: '/people', authorization: BOB, body: person('Foo') },
        status: 200,
      },
      {
        says: 'bob may not create his namesake',
        ...{ method: 'POST', path: '/people', authorization: BOB, body: person('Bob') },
        status: 403,
      },
      { says: 'nobody without a token', path: '/people', status: 403 },
      {
        says: 'nobody with a forged token',
        path: '/people',
        authorization: `${BOB}x`,
        status: 403,
      },
    ],
  },
  {
    fixture: 'tutorial-istio',
    entrypoint: 'istio/authz/allow',
    calls: [
      {
        says: 'alice sees the product page',
        path: '/productpage',
        authorization: basic('alice'),
        status: 200,
      },
      {
        says: 'alice may not use the API',
        path: '/api/v1/products',
        authorization: basic('alice'),
        status: 403,
      },
      {
        says: 'bob sees the product page',
        path: '/productpage',
        authorization: basic('bob'),
        status: 200,
      },
      {
        says: 'bob may use the API',
        path: '/api/v1/products',
        authorization: basic('bob'),
        status: 200,
      },
    ],
  },
  {
    fixture: 'tutorial-gloo-edge',
    calls: [
      { says: 'alice may GET', path: '/get', authorization: ALICE, status: 200 },
      {
        says: 'alice may not POST',
        method: 'POST',
        path: '/post',
        authorization: ALICE,
        status: 403,
      },
      { says: 'bob may GET', path: '/get', authorization: BOB, status: 200 },
      { says: 'bob may POST', method: 'POST', path: '/post', authorization: BOB, status: 200 },
    ],
  },
  {
    fixture: 'primer-role-and-token',
    calls: [
      { says: 'the sample input is allowed', path: '/people/', authorization: ALICE, status: 200 },
      { says: 'without a token it is not', path: '/people/', status: 403 },
    ],
  },
  {
    fixture: 'primer-additional-controls',
    supplement: 'query_parameters_to_remove := ["trace"]',
    entrypoint: 'envoy/authz/result',
    calls: [
      {
        says: 'an allowed request is changed as it says',
        ...{ path: '/people/', authorization: ALICE, status: 200 },
        answer: {
          status: { code: 0 },
          dynamicMetadata: { foo: 'bar' },
          httpResponse: {
            case: 'okResponse',
            value: {
              headers: [
                { header: { key: 'x-ext-auth-allow', value: 'yes' } },
                { header: { key: 'x-validated-by', value: 'security-checkpoint' } },
              ],
              headersToRemove: ['one-auth-header', 'another-auth-header'],
              responseHeadersToAdd: [{ header: { key: 'x-foo', value: 'bar' } }],
              queryParametersToSet: [
                { key: 'tags', value: 'main-flow' },
                { key: 'tags', value: 'auth-enabled' },
                { key: 'user-role', value: 'guest' },
              ],
              queryParametersToRemove: ['trace'],
            },
          },
        },
      },
      {
        says: 'a valid token for another path is unauthorized',
        ...{ path: '/people', authorization: ALICE, status: 403 },
        answer: {
          httpResponse: {
            value: {
              body: 'Unauthorized Request',
              headers: [{ header: { key: 'x-ext-auth-allow' } }, { header: {} }],
            },
          },
        },
      },
      {
        says: 'no valid token is unauthenticated',
        ...{ path: '/people/', authorization: 'Bearer x', status: 401 },
        answer: { httpResponse: { value: { body: 'Authentication Failed' } } },
      },
    ],
  },
  {
    fixture: 'primer-parsed-path',
    calls: [
      { says: 'anyone may see /people', path: '/people', status: 200 },
      { says: 'with a query too', path: '/people?a=b', status: 200 },
      { says: 'and no other path', path: '/people/1', status: 403 },
    ],
  },
  {
    fixture: 'primer-parsed-query',
    calls: [
      { says: 'the documented query', path: '/people?lang=en&id=1&id=2', status: 200 },
      { says: 'not in another order', path: '/people?lang=en&id=2&id=1', status: 403 },
    ],
  },
  {
    fixture: 'primer-parsed-body',
    calls: [
      {
        says: 'the documented body',
        ...{ method: 'POST', path: '/people', body: '{"firstname":"Charlie", "lastname":"Opa"}' },
        status: 200,
      },
      {
        says: 'not another',
        method: 'POST',
        path: '/people',
        body: '{"firstname":"Charlie"}',
        status: 403,
      },
    ],
  },
  {
    fixture: 'home-page-envoy',
    entrypoint: 'envoy/http/public/allow',
    calls: [
      { says: 'anyone may GET /', path: '/', authorization: 'Basic bob', status: 200 },
      {
        says: 'charlie may do all',
        method: 'PUT',
        path: '/x',
        authorization: 'Basic charlie',
        status: 200,
      },
      { says: 'bob may not', method: 'PUT', path: '/x', authorization: 'Basic bob', status: 403 },
    ],
  },
  {
    fixture: 'blog-2019-v0',
    isV0: true,
    calls: [
      {
        says: 'the backend may read the database',
        ...{ path: '/good/db', headers: { 'x-forwarded-client-cert': BACKEND }, status: 200 },
      },
      { says: 'nobody else may', path: '/good/db', status: 403 },
    ],
  },
]

function toAttributes(call: Call): JsonValue {
  const { method = 'GET', path, authorization, body } = call
  return makeAttributes({
    method,
    path,
    headers: {
      ...{ ':method': method, ':path': path, ':authority': 'example-app' },
      ...(authorization === undefined ? {} : { authorization }),
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(body.length) }),
      ...call.headers,
    },
    ...(body === undefined ? {} : { body }),
  })
}

/** `allowed` as OPA itself sees it; an undefined rule allows nothing. */
function opaAllows(policy: Documented, file: string, attributes: JsonValue): boolean {
  const input = toRegoInput(fromJson(CheckRequestSchema, { attributes }))
  const { entrypoint = 'envoy/authz/allow', isV0 = false } = policy
  const query = `data.${entrypoint.replaceAll('/', '.')}`
  const flags = ['-f', 'json', '-I', '-d', file]
  if (isV0) flags.push('--v0-compatible')
  const out = execFileSync(toolPath('opa'), ['eval', ...flags, query], {
    input: JSON.stringify(input),
  })
  const { result } = JSON.parse(out.toString()) as {
    result?: { expressions: { value: boolean | { allowed: boolean } }[] }[]
  }
  const value = result?.[0]?.expressions[0]?.value ?? false
  return typeof value === 'boolean' ? value : value.allowed
}

function statusOf({ status, httpResponse }: CheckResponse): number {
  if (httpResponse.case === 'okResponse' && status?.code === 0) return 200
  return httpResponse.case === 'deniedResponse' ? (httpResponse.value.status?.code ?? 0) : -1
}

t.test("OPA's documented policies give the documented answers", async (t) => {
  const dir = tempDir(t)
  const harness = await startCheck()
  t.teardown(() => harness.stop())
  for (const policy of documented) {
    const { fixture, entrypoint = 'envoy/authz/allow', isV0 = false } = policy
    const rego = `${readFileSync(join(FIXTURES, `${fixture}.rego`), 'utf8')}\n${policy.supplement ?? ''}`
    const file = join(dir, `${fixture}.rego`)
    writeFileSync(file, rego)
    const wasm = await compileRego({ rego, entrypoint, isV0 })
    const made = makeRegoPolicy(wasm, { name: fixture, entrypoint })
    await harness.worker.activate(await makeBundle(makeSet([made.policy]), [wasm]))
    for (const call of policy.calls)
      await t.test(`${fixture}: ${call.says}`, async (t) => {
        const attributes = toAttributes(call)
        const response = await harness.call(attributes)
        t.equal(statusOf(response), call.status)
        if (call.answer !== undefined) t.match(response, call.answer)
        t.equal(opaAllows(policy, file, attributes), call.status === 200, 'as OPA itself says')
        const decider = { path: entrypoint, postern: { policy: `shop/${fixture}` } }
        t.match(harness.records().at(-1), call.status === 200 ? decider : {})
      })
  }
})
