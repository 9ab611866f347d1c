/**
 * The bytes and policies of test/integration/attacks.test.ts, for the demo's manifests: the attacker (shop/tester) may
 * GET /public/* of orders and nothing else; orders may charge payments at most 1000.
 */
import type { RawRequest } from '../../demo/client.ts'

/** Acts when it reaches the orders app: that calls payments. */
export const SMUGGLED =
  'POST /orders HTTP/1.1\r\nhost: smuggled\r\ncontent-length: 0\r\nx-forwarded-client-cert: URI=spiffe://shop.example/ns/shop/sa/web\r\n\r\n'

const get = (...headers: string[]) =>
  `GET /public/x HTTP/1.1\r\nhost: o\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`

/** What precedes a smuggled request: ends of a body that two parsers could see at different places. */
export const FRAMINGS: readonly string[] = [
  get(),
  get('content-length: 5', 'transfer-encoding: chunked'),
  get('content-length: 0', 'content-length: 150'),
  get('content-length: 0, 150'),
  get('content-length: +0'),
  get('content-length: 0x0'),
  ...['xchunked', 'chunked, identity', 'identity', '\x0bchunked', '"chunked"', 'chunked;q=1'].map(
    (coding) => get(`transfer-encoding: ${coding}`),
  ),
  get('transfer-encoding : chunked'),
  get('transfer_encoding: chunked'),
  get('x: y\r\n transfer-encoding: chunked'),
  ...[
    '0\n\r\n',
    '0 \r\n\r\n',
    '0;a=\n1\r\n\r\n',
    '0\r\nhost: internal\r\n\r\n',
    '2\r\nAB0\r\n\r\n',
  ].map((chunks) => get('transfer-encoding: chunked') + chunks),
]

/** Upgrades that the app does not take: no byte of the tunnel may reach it as a request. */
export const UPGRADES: readonly string[] = [
  get('connection: upgrade', 'upgrade: websocket'),
  get('connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 1'),
  get('connection: upgrade', 'upgrade: websocket', 'content-length: 0'),
  get('connection: upgrade', 'upgrade: websocket', 'transfer-encoding: chunked'),
  get('connection: upgrade', 'upgrade: h2c', 'http2-settings: AAMAAABkAAQCAAAAAAIAAAAA'),
  get('connection: upgrade', 'upgrade: postern'),
  'CONNECT orders:80 HTTP/1.1\r\nhost: o\r\n\r\n',
]

export const PATHS_TO_THE_DENIED: readonly string[] = [
  ...[
    '/public/../orders/1',
    '/public/..%2forders/1',
    '/public/..%5corders/1',
    '/public/..\\orders/1',
  ],
  ...['/public/%2e%2e/orders/1', '/public/.%2e/orders/1', '/public/%u002e%u002e/orders/1'],
  ...[
    '/public//../../orders/1',
    '/public/x/../../orders/1',
    '/orders/1?/public/',
    '/orders/1#/public/',
  ],
  ...['/public\t/../orders/1', '/public/%00/../../orders/1', '/Public/x', '//public/../orders/1'],
  ...['/public/..;/orders/1', '/public/.;/..;x=1/orders/1', '/public/%2e%2e;/orders/1'],
  ...[
    '/public/..%3b/orders/1',
    '/public/..%20/orders/1',
    '/public/..%09/orders/1',
    '/public/..%0d/orders/1',
  ],
  ...['http://o/orders/1', 'http://public/orders/1', 'orders/1', '*'],
]

/** Every one of them is, for some reader, internal.orders.shop; or no host at all. */
export const HOSTS_OF_THE_DENIED: readonly string[] = [
  ...[
    'internal.orders.shop',
    'INTERNAL.Orders.Shop',
    'internal.orders.shop.',
    'internal.orders.shop:80',
  ],
  ...[
    'internal.orders.shop.:80',
    'internal.orders.shop:',
    'x@internal.orders.shop',
    ' internal.orders.shop',
  ],
  ...[
    'internal.orders.shop\t',
    'internal.orders.shop/',
    'internal.orders.shop?',
    'internal.orders.shop\\',
  ],
  'o\r\nhost: internal.orders.shop',
]

export const CHARGE: RawRequest = {
  method: 'POST',
  path: '/charge',
  host: 'payments.shop',
  headers: [['content-type', 'application/json']],
  body: '{"amount":25}',
}

const JSON_TYPE = 'content-type: application/json'
const BIG = '{"amount":5000}'

function body(name: string, type: string, text: string): readonly [string, string[], string] {
  return [name, [type, `content-length: ${text.length}`], text]
}

function chunked(name: string, ...chunks: string[]): readonly [string, string[], string] {
  const text = [...chunks, ''].map((c) => `${c.length.toString(16)}\r\n${c}\r\n`).join('')
  return [name, [JSON_TYPE, 'transfer-encoding: chunked'], text]
}

/** Name, header lines, body: each charges more than is allowed, or can't be read for sure. */
export const BODIES_IN_DISGUISE: readonly (readonly [string, readonly string[], string])[] = [
  body('too much', JSON_TYPE, BIG),
  body('no content type that is known', 'content-type: text/plain', BIG),
  body('the last of two keys', JSON_TYPE, '{"amount":25,"amount":5000}'),
  body('a prototype', JSON_TYPE, '{"__proto__":{"amount":25}}'),
  body('own key beside a prototype', JSON_TYPE, '{"amount":5000,"__proto__":{"amount":25}}'),
  body('a byte order mark', JSON_TYPE, '\xef\xbb\xbf{"amount":25}'),
  body('two values', JSON_TYPE, '{"amount":25}{"amount":5000}'),
  body('NaN', JSON_TYPE, '{"amount":NaN}'),
  body('more than a double', JSON_TYPE, '{"amount":1e400}'),
  body('more digits than a double', JSON_TYPE, '{"amount":1000.00000000000000000000001}'),
  body('a text', JSON_TYPE, '{"amount":"25"}'),
  body('a comment', JSON_TYPE, '{"amount":25/*,"amount":5000*/}'),
  body('padded beyond what is read', JSON_TYPE, `{"amount":25}${' '.repeat(8192)}`),
  body('nested deeply', JSON_TYPE, `{"amount":25,"a":${'['.repeat(3000)}${']'.repeat(3000)}}`),
  body('a form of two', 'content-type: application/x-www-form-urlencoded', 'amount=25;amount=5000'),
  chunked('in chunks', '{"amount"', ':5000}'),
  chunked('padded in chunks', '{"amount":25}'.padEnd(8192), BIG),
  ['marked as whole', [JSON_TYPE, 'x-envoy-auth-partial-body: false', 'content-length: 15'], BIG],
  [
    'an upgrade',
    [JSON_TYPE, 'connection: upgrade', 'upgrade: websocket', 'content-length: 13'],
    '{"amount":25}',
  ],
]

interface Edit {
  /** AuthorizationPolicy specs beside those for the marker path; none allows mallory's POST /any. */
  readonly specs: readonly string[]
}

const ORDERS = 'spiffe://shop.example/ns/shop/sa/orders'
const rego = (...lines: string[]) =>
  `rego: { module: ${JSON.stringify(['package envoy.authz', ...lines].join('\n'))} }`
const ANYONE = 'rules: [{}]'
const NOT_ORDERS = `action: DENY, rules: [{ from: [{ source: { notPrincipals: ["${ORDERS}"] } }] }]`

/** Each way to keep mallory out, after each other: lanes, body buffering, and the default change at every step. */
export const EDITS: readonly Edit[] = [
  [],
  [ANYONE, NOT_ORDERS],
  [ANYONE, `action: DENY, ${rego('allow if input.parsed_body.bad')}`],
  [ANYONE, NOT_ORDERS],
  [ANYONE, `action: DENY, ${rego('allow if contains(input.attributes.request.http.body, "bad")')}`],
  [ANYONE, `action: DENY, ${rego('allow if input.attributes.request.http.method == "POST"')}`],
  [`mode: Shadow, ${ANYONE}`],
  [ANYONE, `required: true, ${rego(`allow if input.attributes.source.principal == "${ORDERS}"`)}`],
  [`action: AUDIT, ${ANYONE}`],
  [rego('allow if not input.parsed_body.bad')],
  [ANYONE, 'action: DENY, rules: [{ to: [{ operation: { methods: [POST] } }] }]'],
  [rego('allow if input.attributes.request.http.method == "PUT"')],
].map((specs) => ({ specs }))

/** The manifest of an edit. `marker` tells when it is enforced: orders may GET /v/*, but not this path of it. */
export function policyOf(edit: Edit, marker: string): string {
  const from = `from: [{ source: { principals: ["${ORDERS}"] } }]`
  const open = `rules: [{ ${from}, to: [{ operation: { methods: [GET], paths: ["/v/*"] } }] }]`
  const mark = `action: DENY, rules: [{ to: [{ operation: { paths: ["${marker}"] } }] }]`
  const target = 'targetRefs: [{ group: "", kind: Service, name: payments }]'
  return [open, mark, ...edit.specs]
    .map(
      (spec, i) => `apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: p${i}, namespace: shop }
spec: { ${target}, ${spec} }
---
`,
    )
    .join('')
}
