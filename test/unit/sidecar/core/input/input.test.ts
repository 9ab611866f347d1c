import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import t from 'tap'
import { CheckRequestSchema } from '../../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toAttributes, toRegoInput } from '../../../../../sidecar/core/input/input.ts'

function inputOf(attributes: JsonValue): unknown {
  return JSON.parse(JSON.stringify(toRegoInput(fromJson(CheckRequestSchema, { attributes }))))
}

const VERSION = { ext_authz: 'v3', encoding: 'protojson' }
const NO_BODY = { version: VERSION, parsed_body: null, truncated_body: false }

/** OPA's Envoy documentation, "Example input": a request as Envoy sends it and the document a policy gets. */
t.test('the documented example gives the documented input', async (t) => {
  const attributes = {
    source: {
      address: { socketAddress: { address: '172.17.0.10', portValue: 36472 } },
    },
    destination: {
      address: { socketAddress: { address: '172.17.0.17', portValue: 9080 } },
    },
    request: {
      time: '2020-11-20T09:47:47.722473Z',
      http: {
        id: '13519049518330544501',
        method: 'POST',
        headers: {
          ':authority': '192.168.99.206:30164',
          ':method': 'POST',
          ':path': '/people?lang=en',
          accept: '*/*',
          'content-length': '40',
          'content-type': 'application/json',
          'user-agent': 'curl/7.54.0',
          'x-forwarded-proto': 'http',
          'x-request-id': '1455bbb0-0623-4810-a2c6-df73ffd8863a',
        },
        path: '/people?lang=en',
        host: '192.168.99.206:30164',
        protocol: 'HTTP/1.1',
        body: '{"firstname":"Charlie","lastname":"Opa"}',
        size: '40',
      },
    },
    metadataContext: {},
  }
  t.same(inputOf(attributes), {
    attributes: {
      ...attributes,
      request: {
        time: { seconds: 1605865667, nanos: 722473000 },
        http: { ...attributes.request.http, size: 40 },
      },
    },
    parsed_path: ['people'],
    parsed_query: { lang: ['en'] },
    parsed_body: { firstname: 'Charlie', lastname: 'Opa' },
    truncated_body: false,
    version: VERSION,
  })
})

/** opa-envoy-plugin's Test_protomap. */
t.test('labels, metadata and context extensions are maps; unset fields are absent', async (t) => {
  const attributes = {
    source: {
      address: { socketAddress: { address: '127.0.0.1' } },
      service: 'dummy',
      labels: { foo: 'bar' },
    },
    metadataContext: { filterMetadata: { dummy: { hello: 'world', count: 1 } } },
    contextExtensions: { hello: 'world' },
    request: {
      http: {
        id: '13359530607844510314',
        method: 'GET',
        headers: {
          ':authority': '192.168.99.100:31380',
          ':method': 'GET',
          ':path': '/api/v1/products',
          accept: '*/*',
        },
        path: '/api/v1/products',
        host: '192.168.99.100:31380',
        protocol: 'HTTP/1.1',
        body: '{"firstname": "foo", "lastname": "bar"}',
      },
    },
  }
  t.same(inputOf(attributes), {
    attributes,
    parsed_path: ['api', 'v1', 'products'],
    parsed_query: {},
    ...NO_BODY,
  })
})

t.test('source_principal is there when the peer has one', async (t) => {
  const source = { principal: 'spiffe://test-domain/path' }
  t.same(inputOf({ source, request: { http: { path: '/' } } }), {
    attributes: { source, request: { http: { path: '/' } } },
    source_principal: 'spiffe://test-domain/path',
    parsed_path: [''],
    parsed_query: {},
    ...NO_BODY,
  })
})

t.test('a member of a oneof is there even when it is zero, an enum is its number', async (t) => {
  const address = { socketAddress: { address: '10.0.0.1', portValue: 0, protocol: 'UDP' } }
  t.match(inputOf({ source: { address } }), {
    attributes: {
      source: { address: { socketAddress: { address: '10.0.0.1', portValue: 0, protocol: 1 } } },
    },
  })
  t.match(inputOf({ source: { address: { pipe: { path: '@x' } } } }), {
    attributes: { source: { address: { pipe: { path: '@x' } } } },
  })
})

t.test('integers keep all digits, bytes are base64, Any keeps its type', async (t) => {
  t.match(
    JSON.stringify(
      toRegoInput(
        fromJson(CheckRequestSchema, {
          attributes: { request: { http: { size: '9007199254740993', rawBody: 'AP8=' } } },
        }),
      ),
    ),
    '"size":9007199254740993,"rawBody":"AP8="',
  )
})

t.test('TLS session, lists and nested metadata', async (t) => {
  const attributes = {
    tlsSession: { sni: 'a.b' },
    request: {
      http: {
        headerMap: {
          headers: [
            { key: 'a', value: 'b' },
            { key: 'a', rawValue: 'Yw==' },
          ],
        },
      },
    },
    routeMetadataContext: { filterMetadata: { f: { list: [1, { x: null }], no: false } } },
  }
  t.match(inputOf(attributes), { attributes })
})

t.test("Postern's decision id is hidden, everything else of the headers stays", async (t) => {
  const headers = {
    'x-postern-decision-id': 'secret-uuid',
    'x-postern-decision-ids': 'theirs',
    a: '',
  }
  const headerMap = { headers: [{ key: 'x-postern-decision-id', value: 'u' }, { key: 'b' }] }
  const got = inputOf({ request: { http: { headers, headerMap } } })
  t.same((got as { attributes: unknown }).attributes, {
    request: {
      http: {
        headers: { 'x-postern-decision-ids': 'theirs', a: '' },
        headerMap: { headers: [{ key: 'b' }] },
      },
    },
  })
})

t.test('header names that JavaScript knows are plain names', async (t) => {
  const headers = JSON.parse('{"__proto__":"x","constructor":"y","toString":"z"}') as JsonValue
  t.match(
    JSON.stringify(inputOf({ request: { http: { headers } } })),
    '"headers":{"__proto__":"x","constructor":"y","toString":"z"}',
  )
})

t.test('an empty request is an input too', async (t) => {
  t.same(JSON.parse(JSON.stringify(toRegoInput(fromJson(CheckRequestSchema, {})))), {
    parsed_path: [''],
    parsed_query: {},
    ...NO_BODY,
  })
})

t.test('a request that cannot be read throws, but its attributes can be logged', async (t) => {
  for (const path of ['/%zz', '/a?b=%', '/a?b;c']) {
    const request = fromJson(CheckRequestSchema, { attributes: { request: { http: { path } } } })
    t.throws(() => toRegoInput(request), { code: 'ERR_INPUT_INVALID' })
    t.same(toAttributes(request), { attributes: { request: { http: { path } } } })
  }
})
