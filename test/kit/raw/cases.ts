/**
 * Requests that two readers could read differently, as bytes, each with what is documented to happen and why: the table of
 * docs/reference/traffic.md is written from here, and test/integration/raw-requests.test.ts sends them all.
 * The workload allows everything but what `RAW_POLICIES` refuses: `/admin`, the host `internal.shop`, POST, `x-role: admin`.
 */
import { FLAG, FRAME, frame, type HeaderPair, headersFrames } from '../h2-raw.ts'
import type { Answers } from './client.ts'

export interface RawCase {
  readonly what: string
  readonly wire: 'HTTP/1.1' | 'HTTP/2'
  /** What the app behind the port speaks. */
  readonly app: 'http1' | 'http2'
  /** Text for HTTP/1.1, one character a byte; frames for HTTP/2. */
  readonly bytes: string | Buffer
  /** Code spans of the table. */
  readonly shown: string
  readonly answers: Answers
  /** `METHOD target host` of what the app gets, in order. */
  readonly arrives: readonly string[]
  /** The app may get the head, and then the connection's end. */
  readonly mayBeCut?: boolean
  readonly why: string
}

type Outcome = Pick<RawCase, 'answers' | 'arrives' | 'mayBeCut' | 'why'>

const HOST = 'host: orders.shop'
const OPEN = 'GET /open orders.shop'

/** Passes, as this. */
function passes(why: string, ...arrives: readonly string[]): Outcome {
  const all = arrives.length === 0 ? [OPEN] : arrives
  return { answers: all.map(() => 200), arrives: all, why }
}

/** Answered by Envoy. */
function refused(answer: number | 'reset', why: string): Outcome {
  return { answers: [answer], arrives: [], why }
}

/** Refused while its body comes: the app may have the head by then, as the policies had it, and a connection that ends. */
function refusedInside(answer: number | 'reset', why: string): Outcome {
  return { answers: [answer], arrives: [], mayBeCut: true, why }
}

function span(text: string): string {
  const escaped = text
    .replaceAll('\r', '\\r')
    .replaceAll('\n', '\\n')
    .replaceAll('\t', '\\t')
    .replaceAll('|', '\\|')
    .replace(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
  return `\`${escaped}\``
}

/** Whole text of a request; what is not `GET /open` to `orders.shop` is shown. */
function raw(what: string, bytes: string, outcome: Outcome, shown?: string): RawCase {
  const parts = bytes
    .split('\r\n')
    .filter((l) => l !== '' && l !== HOST && l !== 'GET /open HTTP/1.1')
  const auto = parts.map(span).join(' ')
  return { what, wire: 'HTTP/1.1', app: 'http1', bytes, shown: shown ?? auto, ...outcome }
}

/** GET /open with these header lines. */
function headers(
  what: string,
  lines: readonly string[],
  outcome: Outcome,
  shown?: string,
): RawCase {
  return raw(what, `GET /open HTTP/1.1\r\n${[HOST, ...lines].join('\r\n')}\r\n\r\n`, outcome, shown)
}

/** PUT with these header lines and this body. */
function put(what: string, lines: readonly string[], body: string, outcome: Outcome): RawCase {
  const head = ['PUT /open HTTP/1.1', HOST, ...lines].join('\r\n')
  return raw(
    what,
    `${head}\r\n\r\n${body}`,
    outcome,
    [...lines, ...(body === '' ? [] : [body])].map(span).join(' '),
  )
}

/** A request line of its own. */
function line(
  what: string,
  text: string,
  outcome: Outcome,
  lines: readonly string[] = [HOST],
): RawCase {
  return raw(what, `${[text, ...lines].join('\r\n')}\r\n\r\n`, outcome)
}

const PUT = 'PUT /open orders.shop'

const SMUGGLING: readonly RawCase[] = [
  put(
    'CL.TE',
    ['content-length: 4', 'transfer-encoding: chunked'],
    '0\r\n\r\nX',
    refused(400, 'two ends of one body'),
  ),
  put(
    'TE.CL',
    ['transfer-encoding: chunked', 'content-length: 3'],
    '0\r\n\r\n',
    refused(400, 'two ends of one body'),
  ),
  put(
    'TE.TE',
    ['transfer-encoding: chunked', 'transfer-encoding: identity'],
    '0\r\n\r\n',
    refused(501, 'not one coding'),
  ),
  put('TE.TE, hidden', ['transfer-encoding: xchunked'], '0\r\n\r\n', refused(501, 'not `chunked`')),
  put(
    'space before the colon',
    ['transfer-encoding : chunked'],
    '0\r\n\r\n',
    refused(400, 'RFC 9112 §5.1'),
  ),
  put(
    'two lengths',
    ['content-length: 4', 'content-length: 5'],
    'abcde',
    refused(400, 'which one?'),
  ),
  put(
    'one length twice',
    ['content-length: 4', 'content-length: 4'],
    'abcd',
    refused(400, 'not one value'),
  ),
  put('a list of lengths', ['content-length: 4, 4'], 'abcd', refused(400, 'not a number')),
  put('a length with a sign', ['content-length: +4'], 'abcd', refused(400, 'not a number')),
  put('a hexadecimal length', ['content-length: 0x4'], 'abcd', refused(400, 'not a number')),
  headers(
    'obs-fold',
    ['x-a: b', ' transfer-encoding: chunked'],
    passes('one value, `b transfer-encoding: chunked`, to policies and app'),
  ),
  raw('bare LF', `GET /open HTTP/1.1\n${HOST}\n\n`, passes('lines are written anew, with CR LF')),
  headers(
    'bare CR in a value',
    ['x-a: b\rx-role: admin'],
    passes('taken out: `bx-role: admin`, to policies and app'),
  ),
  put(
    'chunk extensions',
    ['transfer-encoding: chunked'],
    '2;a=b\r\nhi\r\n0\r\n\r\n',
    passes('chunked anew, without them', PUT),
  ),
  put(
    'LF in a chunk extension',
    ['transfer-encoding: chunked'],
    '2;a\nhi\r\n0\r\n\r\n',
    refusedInside(400, 'lines end in CR LF'),
  ),
  put(
    'a chunk longer than it says',
    ['transfer-encoding: chunked'],
    '2\r\nhiX\r\n0\r\n\r\n',
    passes('chunked anew: `hi`', PUT),
  ),
  put(
    'a trailer that a policy would refuse',
    ['transfer-encoding: chunked'],
    '0\r\nx-role: admin\r\n\r\n',
    passes('no policy reads trailers, so no app gets them', PUT),
  ),
  raw(
    'pipelining',
    `GET /open HTTP/1.1\r\n${HOST}\r\n\r\nGET /admin HTTP/1.1\r\n${HOST}\r\n\r\n`,
    { answers: [200, 403], arrives: [OPEN], why: 'each is decided by itself' },
    '`GET /open` then `GET /admin`',
  ),
]

const PATHS: readonly RawCase[] = [
  line('dot segments', 'GET /open/../admin HTTP/1.1', refused(403, 'it is `/admin`')),
  line('encoded dot segments', 'GET /open/%2e%2E/admin HTTP/1.1', refused(403, 'it is `/admin`')),
  line('encoded slashes', 'GET /open%2f..%2Fadmin HTTP/1.1', refused(403, 'it is `/admin`')),
  line('backslashes', 'GET /open\\..\\admin HTTP/1.1', refused(403, 'it is `/admin`')),
  line('double slashes', 'GET //admin HTTP/1.1', refused(403, 'it is `/admin`')),
  line(
    'double encoding',
    'GET /%2561dmin HTTP/1.1',
    passes('decoded once by nobody: it stays', 'GET /%2561dmin orders.shop'),
  ),
  line(
    'an encoded zero byte',
    'GET /open%00/x HTTP/1.1',
    refused(400, 'some apps end the path there'),
  ),
  line(
    'dot segments with parameters',
    'GET /open/..;/admin HTTP/1.1',
    refused(403, '`guard/path`: Tomcat goes up'),
  ),
  line('the same, encoded', 'GET /open/%2e%2e%3Bx/admin HTTP/1.1', refused(403, '`guard/path`')),
  line(
    'a dot segment and a blank',
    'GET /open/..%20/admin HTTP/1.1',
    refused(403, '`guard/path`: some trim segments'),
  ),
  line('a dot segment and a tab', 'GET /open/..%09/admin HTTP/1.1', refused(403, '`guard/path`')),
  line(
    'a blank and a dot segment',
    'GET /open/%20../admin HTTP/1.1',
    refused(403, '`guard/path`: as above'),
  ),
  line('a tab and a dot segment', 'GET /open/%09../admin HTTP/1.1', refused(403, '`guard/path`')),
  line(
    'a blank of Latin-1',
    'GET /open/..%a0/admin HTTP/1.1',
    refused(403, '`guard/path`: no-break space'),
  ),
  line('another', 'GET /open/..%85/admin HTTP/1.1', refused(403, '`guard/path`: next line')),
  line(
    'a blank of Unicode',
    'GET /open/%C2%A0../admin HTTP/1.1',
    refused(403, '`guard/path`: U+00A0 in UTF-8'),
  ),
  line('another', 'GET /open/..%c2%85/admin HTTP/1.1', refused(403, '`guard/path`: U+0085')),
  line('another', 'GET /open/..%E2%80%A8/admin HTTP/1.1', refused(403, '`guard/path`: U+2028')),
  line(
    'blanks all around',
    'GET /open/%20%2e%EF%BB%BF.+/admin HTTP/1.1',
    refused(403, '`guard/path`: U+FEFF, and a form’s blank'),
  ),
  line(
    'a name that begins with a blank and dots',
    'GET /open/%20..%C3%A9/admin HTTP/1.1',
    passes('a name like others', 'GET /open/%20..%C3%A9/admin orders.shop'),
  ),
  line('a malformed escape', 'GET /open/%zz HTTP/1.1', refused(403, '`guard/path`')),
  line('a byte that is not ASCII', 'GET /caf\xe9 HTTP/1.1', refused(400, 'not a URI')),
  line('a fragment', 'GET /open#/../admin HTTP/1.1', refused(400, 'not part of a target')),
  line('a tab in the target', 'GET /open\t/admin HTTP/1.1', refused(400, 'not a URI')),
  line('no slash', 'GET open HTTP/1.1', refused(400, 'not a target')),
  line('asterisk', 'OPTIONS * HTTP/1.1', refused(404, 'it names no path')),
  line('asterisk of another method', 'GET * HTTP/1.1', refused(400, 'not a target')),
]

const HOSTS: readonly RawCase[] = [
  line(
    'an absolute target beside another `Host`',
    'GET http://internal.shop/open HTTP/1.1',
    refused(403, 'the target wins'),
  ),
  line(
    'the reverse',
    'GET http://orders.shop/open HTTP/1.1',
    passes('the target wins, and the app gets it as `Host`'),
    ['host: internal.shop'],
  ),
  line(
    'an absolute target with user',
    'GET http://orders.shop@internal.shop/open HTTP/1.1',
    refused(403, 'the user is cut off: it is `internal.shop`'),
  ),
  line(
    'an absolute target without path',
    'GET http://orders.shop HTTP/1.1',
    passes('its path is `/`', 'GET / orders.shop'),
  ),
  line(
    'the same with a query',
    'GET http://orders.shop?/../admin HTTP/1.1',
    refused(404, 'it names no path'),
  ),
  line(
    'an absolute target with dot segments and port',
    'GET HTTP://Orders.shop:80/open/..//%61dmin HTTP/1.1',
    refused(403, 'it is `/admin`'),
  ),
  line(
    'an absolute target with another scheme',
    'GET ftp://orders.shop/open HTTP/1.1',
    refused(400, 'not a target'),
  ),
  line(
    'an absolute target with two ports',
    'GET http://internal.shop:80:80/open HTTP/1.1',
    refused(400, 'not a target'),
  ),
  headers('`Host` twice', ['host: internal.shop'], refused(403, '`guard/host`')),
  raw(
    '`Host` twice, one empty',
    'GET /open HTTP/1.1\r\nhost:\r\nhost: orders.shop\r\n\r\n',
    passes('the other counts, and the app gets that one'),
    '`host:` `host: orders.shop`',
  ),
  raw('no `Host`', 'GET /open HTTP/1.1\r\n\r\n', refused(400, 'RFC 9112 §3.2'), 'nothing'),
  raw('an empty `Host`', 'GET /open HTTP/1.1\r\nhost:\r\n\r\n', refused(403, '`guard/host`')),
  raw(
    'user in `Host`',
    'GET /open HTTP/1.1\r\nhost: x@internal.shop\r\n\r\n',
    refused(403, '`guard/host`'),
  ),
  raw(
    'case, dot and port',
    'GET /open HTTP/1.1\r\nhost: INTERNAL.shop.:80\r\n\r\n',
    refused(403, 'it is `internal.shop`'),
  ),
  ...[
    ['two ports', 'internal.shop:80:80', '`guard/host`: one is taken off, none may be left'],
    ['a port and an empty one', 'internal.shop:80:', '`guard/host`'],
    ['an empty port', 'internal.shop:', '`guard/host`'],
    ['a dot between two ports', 'internal.shop:80.:80', '`guard/host`'],
    ['an IPv6 address with two ports', '[::1]:80:80', '`guard/host`'],
  ].map(([what = '', host = '', why = '']) =>
    raw(what, `GET /open HTTP/1.1\r\nhost: ${host}\r\n\r\n`, refused(403, why)),
  ),
  raw(
    'an IPv6 address with a port',
    'GET /open HTTP/1.1\r\nhost: [::1]:80\r\n\r\n',
    passes('it is `[::1]`', 'GET /open [::1]'),
  ),
  raw(
    'two dots',
    'GET /open HTTP/1.1\r\nhost: internal.shop..\r\n\r\n',
    refused(403, '`guard/host`'),
  ),
]

const FIELDS: readonly RawCase[] = [
  headers(
    'an underscore in a name',
    ['x_role: admin'],
    refused(400, '`x_role` is `x-role` to many apps'),
  ),
  headers('a byte that no name has', ['x(role: admin'], refused(400, 'RFC 9110 §5.1')),
  headers('NUL in a value', ['x-a: a\0b'], refused(400, 'some apps end the value there')),
  headers(
    'a bare CR in a value',
    ['x-a: b\rx-role: admin'],
    passes('Envoy drops the CR: one value', OPEN),
  ),
  headers('an empty value', ['x-role:'], passes('empty is absent')),
  headers(
    'a repeated header',
    ['x-role: user', 'x-role: admin'],
    refused(403, 'each member counts in a DENY'),
  ),
  headers('blanks around a value', ['x-role:\t admin \t'], refused(403, 'they are no part of it')),
  headers(
    '64 kB of headers',
    [`x-a: ${'a'.repeat(65_536)}`],
    refused(431, 'more than 60 KiB'),
    '`x-a: aaa…`',
  ),
  headers(
    '200 headers',
    Array.from({ length: 200 }, (_, i) => `x-${i}: 1`),
    refused(431, 'more than 100'),
    '`x-0: 1` … `x-199: 1`',
  ),
  headers(
    'a forged identity',
    ['x-forwarded-client-cert: URI=spiffe://shop.example/ns/shop/sa/admin'],
    passes('Envoy says who it is'),
  ),
  headers(
    'a forged decision',
    ['x-postern-decision-id: mine', 'x-postern-allowed: 1'],
    passes('taken off; the id is made anew'),
  ),
  headers(
    "Envoy's own words",
    ['x-envoy-original-path: /admin', 'x-envoy-upstream-rq-timeout-ms: 1'],
    passes('taken off'),
  ),
  headers(
    '`Connection` names a header',
    ['connection: x-role', 'x-role: admin'],
    passes('taken off, as of one hop, before policies read'),
  ),
  headers('`Expect`', ['expect: 100-continue'], {
    answers: [100, 200],
    arrives: [OPEN],
    why: 'answered by Envoy at once, before policies',
  }),
  put('`Expect`, denied', ['expect: 100-continue', 'content-length: 2', 'x-role: admin'], '', {
    answers: [100, 403],
    arrives: [],
    why: 'as above: 100 is no decision',
  }),
  headers(
    'an upgrade that nobody takes',
    ['connection: upgrade', 'upgrade: other'],
    refused(403, 'only `websocket` passes'),
  ),
  headers(
    'h2c',
    ['connection: upgrade, http2-settings', 'upgrade: h2c', 'http2-settings: AAMAAABk'],
    passes('not taken; the app does not see it'),
  ),
]

const METHODS: readonly RawCase[] = [
  line('CONNECT', 'CONNECT orders.shop:80 HTTP/1.1', refused(403, 'no tunnel through a service')),
  line(
    'TRACE',
    'TRACE /open HTTP/1.1',
    passes('a method like others: policies decide', 'TRACE /open orders.shop'),
  ),
  line('lower case', 'post /open HTTP/1.1', refused(400, 'some apps take it for POST')),
  line('an unknown method', 'BREW /open HTTP/1.1', refused(400, 'HTTP/1.1 parsers guess')),
  line('HTTP/1.0', 'GET /open HTTP/1.0', refused(426, 'no framing to rely on')),
  raw('HTTP/0.9', 'GET /open\r\n\r\n', refused(426, 'no framing to rely on')),
  line('HTTP/3.0 in a line', 'GET /open HTTP/3.0', refused(426, 'not this wire')),
  raw(
    'an empty line before',
    `\r\nGET /open HTTP/1.1\r\n${HOST}\r\n\r\n`,
    passes('RFC 9112 §2.2'),
    '`\\r\\n` before it',
  ),
  line('two spaces', 'GET  /open HTTP/1.1', passes('written anew, with one')),
]

const GET2: readonly HeaderPair[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'orders.shop'],
  [':path', '/open'],
]

function without(name: string): readonly HeaderPair[] {
  return GET2.filter(([n]) => n !== name)
}

function with2(pairs: readonly HeaderPair[]): readonly HeaderPair[] {
  return [
    ...GET2.map(([n, v]) => pairs.find(([name]) => name === n) ?? ([n, v] as const)),
    ...pairs.filter(([n]) => !n.startsWith(':')),
  ]
}

function h2(what: string, pairs: readonly HeaderPair[], outcome: Outcome, shown?: string): RawCase {
  const own = pairs.filter(([n, v]) => !GET2.some(([name, value]) => n === name && v === value))
  const auto = own.map(([n, v]) => span(`${n}: ${v}`)).join(' ')
  const bytes = headersFrames(1, pairs, true)
  return { what, wire: 'HTTP/2', app: 'http1', bytes, shown: shown ?? auto, ...outcome }
}

function h2Body(
  what: string,
  pairs: readonly HeaderPair[],
  tail: readonly Buffer[],
  outcome: Outcome & { app?: 'http2'; shown: string },
): RawCase {
  const bytes = Buffer.concat([headersFrames(1, pairs, false), ...tail])
  return { what, wire: 'HTTP/2', app: 'http1', bytes, ...outcome }
}

const PUT2 = with2([[':method', 'PUT']])
const data = (text: string, flags = 0) => frame(FRAME.data, flags, 1, Buffer.from(text))
const trailers = headersFrames(1, [['x-role', 'admin']], true)

const HTTP2: readonly RawCase[] = [
  h2Body(
    'less body than its length',
    [...PUT2, ['content-length', '5']],
    [data('abc', FLAG.endStream)],
    { ...refusedInside('reset', 'malformed'), shown: '`content-length: 5` and 3 bytes' },
  ),
  h2Body(
    'more body than its length',
    [...PUT2, ['content-length', '2']],
    [data('abc', FLAG.endStream)],
    { ...refusedInside('reset', 'malformed'), shown: '`content-length: 2` and 3 bytes' },
  ),
  h2('a name in upper case', [...GET2, ['X-Role', 'admin']], refused('reset', 'RFC 9113 §8.2.1')),
  h2(
    'a pseudo-header behind a header',
    [...without(':path'), ['x-a', 'b'], [':path', '/admin']],
    refused('reset', 'RFC 9113 §8.3'),
  ),
  h2('two paths', [...GET2, [':path', '/admin']], refused('reset', 'which one?')),
  h2('no path', without(':path'), refused('reset', 'RFC 9113 §8.3.1'), 'nothing'),
  h2('an unknown pseudo-header', [...GET2, [':role', 'admin']], refused('reset', 'RFC 9113 §8.3')),
  h2('a path without a slash', with2([[':path', 'open']]), refused('reset', 'RFC 9113 §8.3.1')),
  h2(
    'a second request line in the path',
    with2([[':path', '/open HTTP/1.1\r\nx-role: admin']]),
    refused('reset', 'no line end in a field'),
  ),
  h2('a space in the path', with2([[':path', '/open /admin']]), refused('reset', 'not a path')),
  h2(
    'a byte that is not ASCII',
    with2([[':path', '/caf\xe9']]),
    passes('encoded, to policies and app', 'GET /caf%E9 orders.shop'),
  ),
  h2('the same in the query', with2([[':path', '/open?q=\xe9']]), refused(403, '`guard/path`')),
  h2(
    '`host` beside `:authority`',
    [...GET2, ['host', 'internal.shop']],
    passes('`:authority` wins'),
  ),
  h2(
    '`host` alone',
    [...without(':authority'), ['host', 'internal.shop']],
    refused(403, 'it is the host then'),
    '`host: internal.shop`',
  ),
  h2(
    'user in `:authority`',
    with2([[':authority', 'x@internal.shop']]),
    refused('reset', 'not an authority'),
  ),
  ...[
    ['two ports', 'internal.shop:80:80'],
    ['an empty port', 'internal.shop:'],
    ['an IPv6 address with two ports', '[::1]:80:80'],
  ].map(([what = '', host = '']) =>
    h2(what, with2([[':authority', host]]), refused(403, '`guard/host`')),
  ),
  ...['%20..', '..%a0', '..%85', '%C2%A0..', '..%E2%80%A8'].map((segment) =>
    h2(
      'a dot segment and a blank',
      with2([[':path', `/open/${segment}/admin`]]),
      refused(403, '`guard/path`'),
    ),
  ),
  h2(
    'a connection header',
    [...GET2, ['transfer-encoding', 'chunked']],
    refused('reset', 'RFC 9113 §8.2.2'),
  ),
  h2(
    'a line end in a value',
    [...GET2, ['x-a', 'b\r\nx-role: admin']],
    refused('reset', 'a header of its own behind HTTP/1.1'),
  ),
  h2('NUL in a value', [...GET2, ['x-a', 'a\0b']], refused('reset', 'RFC 9113 §8.2.1')),
  h2(
    'an underscore in a name',
    [...GET2, ['x_role', 'admin']],
    refused('reset', '`x_role` is `x-role` to many apps'),
  ),
  h2(
    'a method in lower case',
    with2([[':method', 'post']]),
    refused(403, '`guard/method`: some apps take it for POST'),
  ),
  h2(
    'an unknown method',
    with2([[':method', 'BREW']]),
    passes('policies read it as it is', 'BREW /open orders.shop'),
  ),
  h2(
    'a method that is no word',
    with2([[':method', 'GET /admin HTTP/1.1 x']]),
    refused('reset', 'a request line of its own behind HTTP/1.1'),
  ),
  h2(
    'CONNECT',
    [
      [':method', 'CONNECT'],
      [':authority', 'orders.shop:80'],
    ],
    refused(403, 'no tunnel through a service'),
  ),
  h2(
    'a repeated header',
    [...GET2, ['x-role', 'user'], ['x-role', 'admin']],
    refused(403, 'each member counts in a DENY'),
  ),
  h2(
    '70 kB of headers',
    [...GET2, ...Array.from({ length: 7 }, (_, i) => [`x-${i}`, 'a'.repeat(10_000)] as const)],
    refused('reset', 'more than 60 KiB'),
    '`x-0: aaa…` …',
  ),
  h2Body('a trailer that a policy would refuse', PUT2, [data('hi'), trailers], {
    ...passes('no policy reads trailers, so no app gets them', PUT),
    shown: '`x-role: admin` behind the body',
  }),
  h2Body('the same to an HTTP/2 app', PUT2, [data('hi'), trailers], {
    ...passes('as above', PUT),
    app: 'http2',
    shown: '`x-role: admin` behind the body',
  }),
]

export const RAW_CASES: Readonly<Record<string, readonly RawCase[]>> = {
  'where a request ends': SMUGGLING,
  paths: PATHS,
  hosts: HOSTS,
  headers: FIELDS,
  'methods and versions': METHODS,
  'HTTP/2': HTTP2,
}
