/** What OPA's WASM prints is read as what it was. */
import t from 'tap'
import {
  compareRego,
  parseRego,
  RegoNumber,
  RegoObject,
  RegoSet,
} from '../../../../../sidecar/adapters/wasm/rego-value.ts'

t.test('JSON is JSON', async (t) => {
  for (const text of ['null', 'true', '"a\\"}é"', '[]', '{}', '[1,[-2.5,{"a":{"__proto__":1}}]]'])
    t.equal(JSON.stringify(parseRego(text)), text)
  t.equal(parseRego('12345678901234567890'), 12345678901234567890n)
})

t.test('sets, other keys and other numbers are none of JSON’s', async (t) => {
  t.same(parseRego('{3,1,{"x"}}'), new RegoSet([1, 3, new RegoSet(['x'])]))
  t.same(parseRego('set()'), new RegoSet([]))
  t.same(
    parseRego('{1:"x","a":set()}'),
    new RegoObject([
      [1, 'x'],
      ['a', new RegoSet([])],
    ]),
  )
  for (const text of ['1.0', '1e3', '-0']) t.same(parseRego(text), new RegoNumber(text))
})

t.test('anything else is an error', async (t) => {
  for (const text of ['', '{1,"a":2}', '[1', '[1,:2]', '1 2', '{"a":}', 'x', '[1 2]'])
    t.throws(() => parseRego(text), text)
})

t.test('Rego’s order', async (t) => {
  const sorted = [
    ...[null, false, true, -1, new RegoNumber('1.0'), 1.5, 2n ** 70n, 'a', '\uffee', '😀'],
    ...[[1], [1, 2], [2], { a: 1 }, { a: 1, b: 0 }, { a: 2 }, { b: 1 }, new RegoSet([0])],
  ]
  t.same(sorted.toReversed().toSorted(compareRego), sorted)
})
