import t from 'tap'
import { parseBody } from '../../../../../sidecar/core/input/parsed-body.ts'

type Headers = Record<string, string>
const JSON_TYPE = { 'content-type': 'application/json' }
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const MULTIPART = { 'content-type': 'multipart/form-data; boundary=foo' }
const PARTIAL = { 'x-envoy-auth-partial-body': 'true' }
const PERSON = '{"firstname": "foo", "lastname": "bar"}'
const TEXT_PART =
  '--foo\nContent-Disposition: form-data; name="foo"\nContent-Type: text/plain\n\nbar\n'
const JSON_PART =
  '--foo\nContent-Disposition: form-data; name="bar"\nContent-Type: application/json;\n\n{"name": "bar"}\n'

function parse(headers: Headers, body: string | Uint8Array = ''): unknown {
  const raw = typeof body === 'string' ? new Uint8Array() : body
  const { value, truncated } = parseBody({
    headers,
    body: typeof body === 'string' ? body : '',
    rawBody: raw,
  })
  return truncated ? `truncated, ${JSON.stringify(value)}` : value
}

/** opa-envoy-plugin's own cases (TestGetParsedBody, TestGetParsedBodygRPC without a descriptor set), by its names. */
const plugin: readonly [string, Headers, string | Uint8Array, unknown][] = [
  ['no_content_type', { 'content-length': '0' }, '', null],
  ['content_type_text', { 'content-type': 'text/html' }, '', null],
  ['content_type_json_string', JSON_TYPE, '"foo"', 'foo'],
  ['content_type_json_boolean', JSON_TYPE, 'true', true],
  ['content_type_json_number', JSON_TYPE, '42', 42],
  ['content_type_json_null', JSON_TYPE, 'null', null],
  ['content_type_json_object', JSON_TYPE, PERSON, { firstname: 'foo', lastname: 'bar' }],
  ['content_type_json_array', JSON_TYPE, '["hello", "opa"]', ['hello', 'opa']],
  [
    'content_type_json_with_special_chars',
    JSON_TYPE,
    '["\\"", "\\\\", "\\/", "/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0041"]',
    ['"', '\\', '/', '/', '\b', '\f', '\n', '\r', '\t', 'A'],
  ],
  [
    'content_type_multipart_form_data',
    MULTIPART,
    `${TEXT_PART}--foo--\n\t\t\t\t`,
    { foo: ['bar'] },
  ],
  [
    'content_type_multipart_form_data_with_json',
    MULTIPART,
    `${TEXT_PART}${JSON_PART}--foo--\n\t\t\t\t`,
    { foo: ['bar'], bar: [{ name: 'bar' }] },
  ],
  ['empty_content', JSON_TYPE, '', null],
  ['body_truncated', { ...JSON_TYPE, 'content-length': '1000' }, 'true', 'truncated, null'],
  [
    'content_type_url_encoded_raw',
    FORM,
    Buffer.from('firstname=foo&lastname=bar'),
    { firstname: ['foo'], lastname: ['bar'] },
  ],
  [
    'content_type_url_encoded',
    FORM,
    'firstname=foo&lastname=bar',
    { firstname: ['foo'], lastname: ['bar'] },
  ],
  ['content_type_url_encoded_empty', FORM, '', null],
  [
    'content_type_url_encoded_multiple_values',
    FORM,
    'firstname=foo&lastname=bar&lastname=foobar',
    { firstname: ['foo'], lastname: ['bar', 'foobar'] },
  ],
  [
    'content_type_url_encoded_truncated',
    { ...FORM, 'content-length': '1000' },
    'firstname=foo&lastname=bar',
    'truncated, null',
  ],
  [
    'content_type_json_with_raw_body',
    JSON_TYPE,
    Buffer.from(PERSON),
    { firstname: 'foo', lastname: 'bar' },
  ],
  ['partial_body_json', { ...JSON_TYPE, ...PARTIAL }, PERSON, 'truncated, null'],
  [
    'not_partial_body_json',
    { ...JSON_TYPE, 'x-envoy-auth-partial-body': 'false' },
    PERSON,
    { firstname: 'foo', lastname: 'bar' },
  ],
  ['partial_body_url_encoded', { ...FORM, ...PARTIAL }, 'firstname=foo', 'truncated, null'],
  [
    'partial_body_multipart',
    { ...MULTIPART, ...PARTIAL },
    `${TEXT_PART}--foo--\n`,
    'truncated, null',
  ],
  ['gRPC without descriptors', { 'content-type': 'application/grpc' }, Buffer.from('AAAA'), null],
  ['content type with charset', { 'content-type': 'application/json; charset=utf-8' }, '[1]', [1]],
  ['multipart without boundary', { 'content-type': 'multipart/form-data' }, 'x', null],
  ['content-length equal', { ...JSON_TYPE, 'content-length': '2' }, '[]', []],
  [
    'content-length counts bytes, not characters',
    { ...JSON_TYPE, 'content-length': '4' },
    '"é"',
    'é',
  ],
  ['content-length -1 is unknown', { ...JSON_TYPE, 'content-length': '-1' }, '[]', []],
]
for (const [name, headers, body, want] of plugin)
  t.test(name, async (t) => {
    t.same(parse(headers, body), want)
  })

const refused: readonly [string, Headers, string][] = [
  ['content_type_json_invalid', JSON_TYPE, '["foo" : 42}'],
  ['a JSON body with a rest', JSON_TYPE, '{} {}'],
  ['content-length that is no number', { ...JSON_TYPE, 'content-length': '2x' }, '[]'],
  ['a bad escape in a form', FORM, 'a=%zz'],
  ['a semicolon in a form', FORM, 'a=1;b=2'],
  ['a malformed multipart type', { 'content-type': 'multipart/form-data; boundary="' }, 'x'],
  ['a multipart body that ends early', MULTIPART, TEXT_PART],
  ['a JSON part that is not JSON', MULTIPART, `${JSON_PART.replace('{', '')}--foo--`],
]
for (const [name, headers, body] of refused)
  t.test(`${name} is refused`, async (t) => {
    t.throws(() => parse(headers, body), { code: 'ERR_INPUT_INVALID' })
  })
