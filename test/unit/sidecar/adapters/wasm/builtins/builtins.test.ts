import t from 'tap'
import { HOST_BUILTINS } from '../../../../../../common/rego-builtins.ts'
import { builtins } from '../../../../../../sidecar/adapters/wasm/builtins/all.ts'

const NOW = { nowNs: 1_605_865_667_722_473_000n }

function call(name: string, operands: readonly unknown[]): unknown {
  const builtin = builtins.get(name)
  if (builtin === undefined) throw new Error(`no builtin ${name}`)
  return builtin(NOW, ...operands)
}

/** Answers of OPA 1.22.2. */
const answers: readonly [string, readonly unknown[], unknown][] = [
  ['base64url.encode_no_pad', ['é&=;+'], 'w6kmPTsr'],
  ['hex.encode', ['é'], 'c3a9'],
  ['hex.decode', ['C3a9'], 'é'],
  ['urlquery.encode', ["a b~-_.!*()'é"], 'a+b~-_.%21%2A%28%29%27%C3%A9'],
  ['urlquery.decode', ['a+b%3Dc'], 'a b=c'],
  ['urlquery.decode', ['a=b&c'], 'a=b&c'],
  ['urlquery.encode_object', [{ b: ['1', '2 3'], a: 'x&y' }], 'a=x%26y&b=1&b=2+3'],
  ['urlquery.decode_object', ['x=1&x=2&y'], { x: ['1', '2'], y: [''] }],
  ['crypto.md5', ['a'], '0cc175b9c0f1b6a831c399e269772661'],
  ['crypto.sha1', ['a'], '86f7e437faa5a7fce15d1ddcb9eaeaea377667b8'],
  ['crypto.sha256', [''], 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['crypto.hmac.md5', ['a', 'k'], 'ddcf3d210049e7135f61affae73731cd'],
  ['crypto.hmac.equal', ['a', 'a'], true],
  ['crypto.hmac.equal', ['a', 'ab'], false],
  ['strings.any_prefix_match', ['abc', ['x', 'ab']], true],
  ['strings.any_prefix_match', [['q', 'abc'], ['bc']], false],
  ['strings.any_suffix_match', [['q', 'abc'], 'bc'], true],
  ['strings.count', ['aaa', 'aa'], 1],
  ['strings.count', ['é', ''], 2],
  ['indexof_n', ['éaé', 'é'], [0, 2]],
  ['trace', ['x'], true],
  ['time.now_ns', [], NOW.nowNs],
  ['time.clock', [NOW.nowNs], [9, 47, 47]],
  ['time.date', [[NOW.nowNs, 'UTC']], [2020, 11, 20]],
  ['time.weekday', [-1], 'Wednesday'],
  ['time.parse_rfc3339_ns', ['2020-11-20T09:47:47.722473Z'], NOW.nowNs],
  ['time.parse_rfc3339_ns', ['2020-01-01T00:00:00+01:30'], 1_577_831_400_000_000_000n],
  ['time.parse_rfc3339_ns', ['1969-12-31T23:59:59.5Z'], -500_000_000n],
  ['time.parse_duration_ns', ['1h15m30.918s'], 4_530_918_000_000n],
  ['time.parse_duration_ns', ['-1.5h'], -5_400_000_000_000n],
  ['time.parse_duration_ns', ['0'], 0n],
]
for (const [name, operands, want] of answers)
  t.test(`${name}(${operands.map(String).join(', ')}) answers as OPA does`, async (t) => {
    t.same(call(name, operands), want)
  })

const undefineds: readonly [string, readonly unknown[]][] = [
  ['hex.decode', ['616']],
  ['urlquery.decode', ['%zz']],
  ['urlquery.encode', [1]],
  ['urlquery.encode_object', [{ a: 1 }]],
  ['urlquery.encode_object', [[]]],
  ['strings.any_prefix_match', [1, 'a']],
  ['indexof_n', ['a', '']],
  ['sprintf', ['%v', 'a']],
  ['time.clock', [1.5]],
  ['time.date', [2n ** 64n]],
  ['time.parse_rfc3339_ns', ['2020-02-30T00:00:00Z']],
  ['time.parse_rfc3339_ns', ['2020-01-01T24:00:00Z']],
  ['time.parse_rfc3339_ns', ['2262-04-12T00:00:00Z']],
  ['time.parse_rfc3339_ns', ['yesterday']],
  ['time.parse_duration_ns', ['1']],
  ['time.parse_duration_ns', ['9999999h']],
]
for (const [name, operands] of undefineds)
  t.test(`${name}(${operands.map(String).join(', ')}) is undefined, as in OPA`, async (t) => {
    t.throws(() => call(name, operands), { name: 'BuiltinError' })
  })

const unsupported: readonly [string, readonly unknown[]][] = [
  ['time.clock', [[0, 'Europe/Berlin']]],
  ['time.parse_duration_ns', ['1d']],
]
for (const [name, operands] of unsupported)
  t.test(`${name}(${operands.map(String).join(', ')}) is an error, not undefined`, async (t) => {
    t.throws(() => call(name, operands), { name: 'RangeError' })
  })

t.test('the table has exactly the builtins that both programs hold to', async (t) => {
  t.same([...builtins.keys()].sort(), [...HOST_BUILTINS].sort())
})

// The texts come from clients, and one request must not hold the worker up: a quadratic way would take hours here.
t.test('long texts take time in proportion', async (t) => {
  const many = (text: string) => text.repeat(2_000_000)
  const segment = (text: string) => Buffer.from(text).toString('base64url')
  const nested = `${segment('{"cty":"JWT"}')}.${segment(`a${many('"')}x`)}.AA`
  const undefinedOf = { name: 'BuiltinError' }
  t.throws(() => call('io.jwt.decode', [`${many('=')}x.e30.AA`]), undefinedOf)
  t.throws(() => call('io.jwt.decode', [nested]), undefinedOf)
  t.throws(() => call('time.parse_duration_ns', [many('1')]), undefinedOf)
  t.equal((call('indexof_n', [many('é'), 'é']) as unknown[]).length, 2_000_000)
})
