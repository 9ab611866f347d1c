import t from 'tap'
import {
  exactInteger,
  MAX_JSON_DEPTH,
  parseExactJson,
} from '../../../../../sidecar/core/input/exact-json.ts'

/** Text → the text that a policy's input has. */
const same: readonly string[] = [
  'null',
  '42',
  '-0',
  '1.0',
  '1e400',
  '9007199254740993',
  '0.12345678901234567891',
  '{"a":[12345678901234567890,1.5,"x",true,null]}',
  '{"__proto__":{"a":1},"constructor":2}',
]
for (const text of same)
  t.test(`${text} stays as it is`, async (t) => {
    t.equal(JSON.stringify(parseExactJson(text)), text)
  })

t.test('a lone surrogate becomes U+FFFD, in values and in names', async (t) => {
  t.same(parseExactJson('{"\\ud800":["\\udc00x",1e999]}'), {
    '\ufffd': ['\ufffdx', (JSON as unknown as { rawJSON(s: string): unknown }).rawJSON('1e999')],
  })
  t.equal(parseExactJson('"\\ud83d\\ude00"'), '\u{1f600}')
})

t.test('the last of two equal names wins, as in Go', async (t) => {
  t.same(parseExactJson('{"a":1,"a":2}'), { a: 2 })
})

for (const text of [
  '',
  ' ',
  '{',
  '["foo" : 42}',
  "{'a':1}",
  '01',
  'NaN',
  '1 2',
  'true}',
  '\ufeff1',
  '"\t"',
])
  t.test(`${JSON.stringify(text)} is refused`, async (t) => {
    t.throws(() => parseExactJson(text), { code: 'ERR_INPUT_INVALID' })
  })

t.test('deep nesting is refused before it costs stack', async (t) => {
  const nested = (n: number) => `${'['.repeat(n)}${']'.repeat(n)}`
  t.ok(parseExactJson(nested(MAX_JSON_DEPTH)))
  t.throws(() => parseExactJson(nested(MAX_JSON_DEPTH + 1)), { code: 'ERR_INPUT_INVALID' })
  t.ok(
    parseExactJson(JSON.stringify(['['.repeat(5000), '\\"[{'.repeat(2000)])),
    'text is no nesting',
  )
})

t.test('64-bit integers print exactly', async (t) => {
  t.equal(JSON.stringify(exactInteger(2n ** 63n - 1n)), '9223372036854775807')
  t.equal(exactInteger(7n), 7)
})

t.test('a text made to look twice at each character costs one pass', async (t) => {
  const started = performance.now()
  for (const text of [`"${'\\\\"'.repeat(200_000)}`, `"${'\\\\'.repeat(200_001)}`])
    t.throws(() => parseExactJson(text), { code: 'ERR_INPUT_INVALID' })
  t.ok(performance.now() - started < 2000)
})
