import t from 'tap'
import { parseMultipart } from '../../../../../sidecar/core/input/multipart.ts'

function parts(body: string, boundary = 'foo'): [string, string, string][] {
  return parseMultipart(Buffer.from(body), boundary).map((p) => [
    p.name,
    Buffer.from(p.bytes).toString(),
    p.contentType,
  ])
}

const A = 'Content-Disposition: form-data; name="a"\r\n\r\n'

/** Answers of Go 1.26's mime/multipart, as opa-envoy-plugin uses it. */
const good: readonly [string, string, [string, string, string][]][] = [
  ['one part', `--foo\r\n${A}v\r\n--foo--\r\n`, [['a', 'v', '']]],
  ['no line end at the end', `--foo\r\n${A}v\r\n--foo--`, [['a', 'v', '']]],
  ['text before the first boundary', `pre\r\n\r\n--foo\r\n${A}v\r\n--foo--`, [['a', 'v', '']]],
  ['text after the last', `--foo\r\n${A}v\r\n--foo--\r\nrest`, [['a', 'v', '']]],
  [
    'bare line feeds',
    '--foo\nContent-Disposition: form-data; name="a"\n\nv\n--foo--\n',
    [['a', 'v', '']],
  ],
  ['an empty body', `--foo\r\n${A}\r\n--foo--`, [['a', '', '']]],
  ['a boundary right after the header', `--foo\r\n${A}--foo--`, [['a', '', '']]],
  ['blanks after the boundary', `--foo \t\r\n${A}v\r\n--foo-- `, [['a', 'v', '']]],
  ['a boundary within text', `--foo\r\n${A}x\r\n--foobar\r\n--foo--`, [['a', 'x\r\n--foobar', '']]],
  [
    'two parts of a name',
    `--foo\r\n${A}1\r\n--foo\r\n${A}2\r\n--foo--`,
    [
      ['a', '1', ''],
      ['a', '2', ''],
    ],
  ],
  ['a part without a name', '--foo\r\nX: y\r\n\r\nv\r\n--foo--', []],
  ['another disposition', '--foo\r\nContent-Disposition: file; name="a"\r\n\r\nv\r\n--foo--', []],
  ['only a first boundary', '--foo\r\n', []],
  ['a header that is cut', '--foo\r\nContent-Disposition: form-data; name="a"', []],
  [
    'a folded header',
    '--foo\r\nContent-Disposition: form-data;\r\n  name="a"\r\n\r\nv\r\n--foo--',
    [['a', 'v', '']],
  ],
  ['a blank in a header name', `--foo\r\nContent-Type : x\r\n${A}v\r\n--foo--`, [['a', 'v', '']]],
  [
    'the first of two headers',
    `--foo\r\nContent-Type: x\r\ncontent-type: y\r\n${A}v\r\n--foo--`,
    [['a', 'v', 'x']],
  ],
  [
    'a name in UTF-8',
    '--foo\r\nContent-Disposition: form-data; name="é"\r\n\r\né\r\n--foo--',
    [['é', 'é', '']],
  ],
]
for (const [name, body, want] of good)
  t.test(`${name} is read as Go reads it`, async (t) => {
    t.same(parts(body), want)
  })

const bad: readonly [string, string][] = [
  ['an empty body', ''],
  ['no boundary', 'hello'],
  ['a part without an end', `--foo\r\n${A}v`],
  ['a part that ends in half a boundary', `--foo\r\n${A}v\r\n--foo-`],
  ['text after a boundary', `--foo\r\n${A}v\r\n--foo x\r\n--foo--`],
  ['a second empty line', `--foo\r\n${A}v\r\n--foo\r\n\r\n\r\nx`],
  ['a header without a colon', `--foo\r\nnonsense\r\n${A}v\r\n--foo--`],
  ['a header with an empty name', `--foo\r\n: x\r\n${A}v\r\n--foo--`],
  ['a header with a control character', `--foo\r\nX: \u0001\r\n${A}v\r\n--foo--`],
  ['a first header that is folded', `--foo\r\n X: y\r\n${A}v\r\n--foo--`],
  ['quoted-printable', `--foo\r\nContent-Transfer-Encoding: Quoted-Printable\r\n${A}v\r\n--foo--`],
  ['a long line before the first part', `${'x'.repeat(5000)}\r\n--foo\r\n${A}v\r\n--foo--`],
]
for (const [name, body] of bad)
  t.test(`${name} is refused`, async (t) => {
    t.throws(() => parts(body), { code: 'ERR_INPUT_INVALID' })
  })

t.test('an empty boundary is refused', async (t) => {
  t.throws(() => parts('----', ''), { code: 'ERR_INPUT_INVALID' })
})

// A quadratic way would not end before the test's time limit.
t.test('a header full of blanks takes time in proportion', async (t) => {
  const body = `--b\r\nx: a${' '.repeat(2_000_000)}b\r\n\r\nv\r\n--b--`
  t.same(parseMultipart(Buffer.from(body), 'b'), [])
})
