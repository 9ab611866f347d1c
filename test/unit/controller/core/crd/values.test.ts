import t, { type Test } from 'tap'
import { SCHEMAS } from '../../../../../controller/core/crd/generated/schemas.ts'
import type { Schema } from '../../../../../controller/core/crd/schema.ts'
import {
  type Parsed,
  parseHeaderValue,
  parseHost,
  parseIpBlock,
  parseMethod,
  parseNamespace,
  parsePath,
  parsePort,
  parsePrincipal,
  parseWhenKey,
} from '../../../../../controller/core/crd/values.ts'
import { seededRandom } from '../../../../kit/manifest-mutator.ts'

const exact = (value: string) => ({ kind: 'exact', value })
const prefix = (value: string) => ({ kind: 'prefix', value })
const suffix = (value: string) => ({ kind: 'suffix', value })
const present = { kind: 'present' }

function accepts<T>(t: Test, parse: (text: string) => Parsed<T>, cases: Record<string, unknown>) {
  for (const [text, value] of Object.entries(cases)) t.same(parse(text), { ok: true, value }, text)
}

function refuses<T>(t: Test, parse: (text: string) => Parsed<T>, cases: Record<string, RegExp>) {
  for (const [text, said] of Object.entries(cases)) {
    const parsed = parse(text)
    t.match(parsed, { ok: false }, text)
    if (!parsed.ok) t.match(`${parsed.message}; ${parsed.remedy}`, said, text)
  }
}

t.test('principals are SPIFFE ids, with the scheme added', async (t) => {
  accepts(t, parsePrincipal, {
    'spiffe://a.b/ns/x/sa/y': exact('spiffe://a.b/ns/x/sa/y'),
    'cluster.local/ns/x/sa/y': exact('spiffe://cluster.local/ns/x/sa/y'),
    'a.b/ns/x/*': prefix('spiffe://a.b/ns/x/'),
    'a.b*': prefix('spiffe://a.b'),
    'spiffe://*': prefix('spiffe://'),
    '*/sa/y': suffix('/sa/y'),
    '*': present,
  })
  refuses(t, parsePrincipal, {
    '': /empty/,
    'a*b': /star/,
    '**': /star/,
    'a.b': /no path/,
    'spiffe://': /no trust domain/,
    'spiffe:///ns/x': /no trust domain/,
    'https://a.b/c': /scheme/,
    'spiffe://a:1/c': /scheme .* or a port/,
    'spiffe://A/c': /lower-case/,
    'a.b/': /segment/,
    'a.b//c': /segment/,
    'a.b/../c': /segment/,
    'a.b/./*': /segment/,
    'a.b/c d': /character/,
    '*//c': /segment/,
    '*é': /character/,
  })
})

t.test('namespaces', async (t) => {
  accepts(t, parseNamespace, {
    shop: exact('shop'),
    'shop-*': prefix('shop-'),
    '*-x': suffix('-x'),
    '*': present,
  })
  refuses(t, parseNamespace, {
    Shop: /no namespace/,
    '-a': /no namespace/,
    'a-': /no namespace/,
    'a.b': /no namespace/,
  })
})

t.test('hosts are lower-cased and have no port', async (t) => {
  accepts(t, parseHost, {
    'A.b': exact('a.b'),
    '*.A.b': suffix('.a.b'),
    'a.*': prefix('a.'),
    '[::1]': exact('[::1]'),
    '*': present,
  })
  refuses(t, parseHost, {
    'a:80': /port/,
    'a.': /dot/,
    '.a': /\*\.a/,
    'ü.de': /punycode/,
    '*a.': /dot/,
    '[::1]:80': /port/,
  })
})

t.test('methods are upper-case tokens', async (t) => {
  accepts(t, parseMethod, {
    GET: exact('GET'),
    'M-SEARCH': exact('M-SEARCH'),
    'P*': prefix('P'),
    '*T': suffix('T'),
    '*': present,
  })
  refuses(t, parseMethod, {
    get: /write "GET"/,
    'g t': /a method such as/,
    '1': /method/,
    '*t': /write "\*T"/,
  })
})

t.test('paths are normalised, without query, with templates', async (t) => {
  const literal = (value: string) => ({ kind: 'literal', value })
  accepts(t, parsePath, {
    '/': exact('/'),
    '/a/': exact('/a/'),
    '/a/*': prefix('/a/'),
    '*.css': suffix('.css'),
    '/a/.*': prefix('/a/.'),
    '*': present,
    '/{*}': { kind: 'template', segments: [{ kind: 'one' }] },
    '/a/{*}/b/{**}': {
      kind: 'template',
      segments: [literal('a'), { kind: 'one' }, literal('b'), { kind: 'any' }],
    },
  })
  refuses(t, parsePath, {
    a: /start with/,
    '/a?b': /query/,
    '/a#b': /fragment/,
    '/%61': /encoded/,
    '/a\\b': /backslash/,
    '/a b': /character/,
    '//a': /segment/,
    '/a/..': /segment/,
    '/./a': /segment/,
    '/a//*': /segment/,
    '*//a': /segment/,
    '/a{*}': /whole segment/,
    '/{id}': /whole segment/,
    '/{*}/a*': /whole segment/,
    '/{**}/a': /last/,
    'a/{*}': /start with/,
    '/{*}/': /segment/,
    '/{*}/%61': /encoded/,
  })
})

t.test('ports, header values, keys', async (t) => {
  t.same(parsePort(80), { ok: true, value: 80 })
  t.same(parsePort('65535'), { ok: true, value: 65535 })
  for (const port of [0, 65536, 1.5, '080', '0', '', 'http', '70000'])
    t.match(parsePort(port), { ok: false }, String(port))
  accepts(t, parseHeaderValue, {
    'a b': exact('a b'),
    'a*': prefix('a'),
    '*b': suffix('b'),
    '*': present,
  })
  refuses(t, parseHeaderValue, { 'a\nb': /control/, 'a*b': /star/, '': /empty/ })
  accepts(t, parseWhenKey, {
    'request.headers[X-A]': { kind: 'header', name: 'x-a' },
    'source.principal': { kind: 'source.principal' },
    'destination.port': { kind: 'destination.port' },
  })
  refuses(t, parseWhenKey, {
    'request.headers[]': /attribute/,
    'request.headers[:path]': /attribute/,
    'request.headers[HOST]': /hosts/,
    x: /attribute/,
  })
})

t.test('IP blocks are canonical', async (t) => {
  accepts(t, parseIpBlock, {
    '10.0.0.0/8': '10.0.0.0/8',
    '192.0.2.7': '192.0.2.7/32',
    '::1': '::1/128',
    '2001:DB8:0::/32': '2001:db8::/32',
    '0.0.0.0/0': '0.0.0.0/0',
  })
  refuses(t, parseIpBlock, {
    '10.0.0.1/8': /write 10\.0\.0\.0\/8 .* or 10\.0\.0\.1/,
    '::ffff:10.0.0.0/104': /IPv4 form/,
    '10.0.0.0/33': /CIDR/,
    '010.0.0.0/8': /leading zeros/,
    '10.0.0/8': /CIDR/,
    'fe80::1%eth0': /CIDR/,
    '': /CIDR/,
  })
})

/** The pattern of a list's items in the schema of AuthorizationPolicy. */
function patternOf(...path: string[]): RegExp {
  let schema: Schema | undefined =
    SCHEMAS.AuthorizationPolicy.properties?.spec?.properties?.rules?.items
  for (const name of path) schema = schema?.properties?.[name]?.items ?? schema?.properties?.[name]
  if (schema?.pattern === undefined) throw new Error(`no pattern at ${path.join('.')}`)
  return new RegExp(schema.pattern, 'u')
}

t.test('the CRD accepts exactly what the parsers accept', async (t) => {
  const grammars = [
    {
      parse: parsePrincipal,
      pattern: patternOf('from', 'source', 'principals'),
      alphabet: ['spiffe://', '/', '/', 'ab', 'ns', '.', '..', '*', 'A', '_', ':', ' '],
    },
    {
      parse: parseNamespace,
      pattern: patternOf('from', 'source', 'namespaces'),
      alphabet: ['a', 'b1', '-', '*', '.', 'A'],
    },
    {
      parse: parseHost,
      pattern: patternOf('to', 'operation', 'hosts'),
      alphabet: ['a', 'B', '.', '-', '_', '*', ':', '80', '[', ']', 'é'],
    },
    {
      parse: parseMethod,
      pattern: patternOf('to', 'operation', 'methods'),
      alphabet: ['GET', 'A', '-', '_', '*', 'a', '1', ' '],
    },
    {
      parse: parsePath,
      pattern: patternOf('to', 'operation', 'paths'),
      alphabet: [
        '/',
        '/',
        '/',
        'a',
        'b',
        '.',
        '..',
        '*',
        '{*}',
        '{**}',
        '{',
        '}',
        '%61',
        '?',
        '#',
        '\\',
        ';',
        '~',
        ' ',
        'é',
      ],
    },
    {
      parse: parsePort,
      pattern: patternOf('to', 'operation', 'ports'),
      alphabet: [...'0123456789', '65', '535', 'a', '-', '.'],
    },
    // That the host is no header is a rule of the CRD, not part of the pattern.
    {
      parse: parseWhenKey,
      pattern: patternOf('when', 'key'),
      alphabet: [
        'request.headers[',
        ']',
        'x',
        '-',
        ':',
        'source.principal',
        'destination.port',
        ' ',
      ],
    },
  ]
  const random = seededRandom(4)
  for (const { parse, pattern, alphabet } of grammars) {
    let accepted = 0
    for (let i = 0; i < 20_000; i++) {
      const length = 1 + Math.floor(random() * 7)
      const text = Array.from(
        { length },
        () => alphabet[Math.floor(random() * alphabet.length)],
      ).join('')
      const ours = parse(text).ok
      if (ours !== pattern.test(text))
        t.fail(`${parse.name} ${JSON.stringify(text)}: parser ${ours}`)
      if (ours) accepted++
    }
    t.ok(accepted > 100 && accepted < 19_900, `${parse.name}: ${accepted} of 20000 accepted`)
  }
})

t.test('no pattern takes long on hostile text', async (t) => {
  const patterns = ['principals', 'namespaces'].map((name) => patternOf('from', 'source', name))
  patterns.push(...['hosts', 'methods', 'paths'].map((name) => patternOf('to', 'operation', name)))
  for (const pattern of patterns) {
    for (const unit of ['a', '/a', '/', '.', 'a.', '-', '/{*}', '/..a', 'A', '*']) {
      const text = `/${unit.repeat(100_000)}\u0000`
      const start = performance.now()
      t.notOk(pattern.test(text))
      t.ok(performance.now() - start < 500, `${unit}: linear`)
    }
  }
})
