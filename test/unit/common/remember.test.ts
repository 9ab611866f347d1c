import t from 'tap'
import {
  internBy,
  keepEqual,
  recall,
  remember,
  rememberAsked,
  shareEqual,
} from '../../../common/remember.ts'

t.test('computes again only when an argument is another', async (t) => {
  let runs = 0
  const join = remember((key: { name: string }, list: readonly string[], more?: string) => {
    runs += 1
    return { text: [key.name, ...list, more].join() }
  })
  const key = { name: 'a' }
  const first = join(key, ['b'], 'c')
  t.equal(join(key, ['b'], 'c'), first, 'an equal list of the same elements is the same')
  t.equal(runs, 1)
  t.match(join(key, ['b', 'x'], 'c'), { text: 'a,b,x,c' })
  t.match(join(key, ['x'], 'c'), { text: 'a,x,c' })
  t.match(join(key, ['x'], 'd'), { text: 'a,x,d' })
  t.match(join(key, ['x']), { text: 'a,x,' })
  t.match(join({ name: 'a' }, ['x']), { text: 'a,x,' })
  t.equal(runs, 6, 'equal keys are not the same key')
})

t.test('inputs decide, and nothing else', async (t) => {
  const last = recall<object, number>()
  const key = {}
  t.equal(
    last(key, [1], () => 1),
    1,
  )
  t.equal(
    last(key, [1], () => 2),
    1,
  )
  t.equal(
    last(key, [[1, [2]]], () => 3),
    3,
  )
  t.equal(
    last(key, [[1, [2]]], () => 4),
    3,
  )
  t.equal(
    last(key, [[1, [3]]], () => 5),
    5,
  )
})

t.test('asks again what it asked, and computes when an answer is another', async (t) => {
  let runs = 0
  const sum = rememberAsked((key: { of: string[] }, ask: (name: string) => number | undefined) => {
    runs += 1
    return key.of.reduce((n, name) => n + (ask(name) ?? 0), 0)
  })
  const key = { of: ['a', 'b'] }
  const values = new Map([
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ])
  const ask = (name: string) => values.get(name)
  t.equal(sum(key, ask), 3)
  values.set('c', 7)
  t.equal(sum(key, ask), 3)
  t.equal(runs, 1, 'what it never asked is none of its business')
  values.delete('b')
  t.equal(sum(key, ask), 1)
})

t.test('an equal value is the one from before, in parts too', async (t) => {
  const keep = keepEqual<object, unknown>()
  const owner = {}
  const first = { a: [{ x: 1 }, { y: 2 }], b: 'b' }
  t.equal(keep(owner, first), first)
  t.equal(keep(owner, structuredClone(first)), first)
  const other = keep(owner, { a: [{ x: 1 }, { y: 3 }], b: 'b' }) as typeof first
  t.same(other, { a: [{ x: 1 }, { y: 3 }], b: 'b' })
  t.equal(other.a[0], first.a[0])
  t.same(keep(owner, undefined), undefined)
})

t.test('what differs is never taken for equal', async (t) => {
  const pairs: [unknown, unknown][] = [
    [{ a: 1 }, { a: 1, b: undefined }],
    [{ a: 1, b: undefined }, { a: 1 }],
    [{ a: undefined }, { b: undefined }],
    [[1], [1, 2]],
    [[1, 2], [1]],
    [[], {}],
    [{}, []],
    [null, {}],
    [0, -0],
    ['1', 1],
    [new Map([[1, 1]]), new Map([[1, 1]])],
    [new Uint8Array([1]), new Uint8Array([1])],
  ]
  for (const [before, next] of pairs) {
    const shared = shareEqual(before, next)
    t.strictSame(shared, next)
    t.notOk(Object.is(shared, before))
  }
  const hostile = JSON.parse('{"__proto__":{"a":1},"x":1}') as object
  const shared = shareEqual(JSON.parse('{"__proto__":{"a":1},"x":2}'), hostile) as object
  t.same(JSON.stringify(shared), '{"__proto__":{"a":1},"x":1}')
  t.equal(Object.getPrototypeOf(shared), Object.prototype)
})

t.test('one object for all of one name', async (t) => {
  const intern = internBy((value: { name: string }) => value.name)
  const first = intern({ name: 'a' })
  t.equal(intern({ name: 'a' }), first)
  t.not(intern({ name: 'b' }), first)
})
