import t from 'tap'
import { compileRules } from '../../../../../controller/core/crd/cel.ts'
import { formatPath } from '../../../../../controller/core/crd/field-path.ts'
import type { Schema } from '../../../../../controller/core/crd/schema.ts'

const rule = (text: string, fieldPath?: string) => ({
  'x-kubernetes-validations': [{ rule: text, message: 'no', ...(fieldPath && { fieldPath }) }],
})

function fields(schema: Schema, self: unknown, oldSelf?: unknown): string[] {
  return compileRules(schema)({ self, oldSelf }).map((f) => formatPath(f.path))
}

t.test('rules hold at their node, in lists and maps too', async (t) => {
  const schema: Schema = {
    type: 'object',
    properties: {
      list: { type: 'array', items: { type: 'integer', ...rule('self > 1') } },
      map: { type: 'object', additionalProperties: { type: 'string', ...rule("self == 'x'") } },
    },
    ...rule('!has(self.a) || has(self.b)', '.b'),
  }
  t.same(fields(schema, { list: [1, 2, 0], map: { p: 'x', q: 'y' }, a: 1 }), [
    'b',
    'list[0]',
    'list[2]',
    'map.q',
  ])
  t.same(fields(schema, {}), [])
  t.same(fields(schema, { list: 'no list', map: null }), [], 'other types are not its business')
})

t.test('a rule that cannot be evaluated does not hold', async (t) => {
  t.same(fields({ ...rule('self.a.b == 1') }, {}), [''])
  t.same(fields({ ...rule('int(self) > 1') }, 'x'), [''])
})

t.test('transition rules need an old object', async (t) => {
  const schema: Schema = {
    type: 'object',
    properties: { a: { type: 'string', ...rule('self == oldSelf') } },
  }
  t.same(fields(schema, { a: 'x' }), [])
  t.same(fields(schema, { a: 'x' }, {}), [], 'the field is new')
  t.same(fields(schema, { a: 'x' }, { a: 'x' }), [])
  t.same(fields(schema, { a: 'x' }, { a: 'y' }), ['a'])
})

t.test("keys that JavaScript knows are keys, not the object's own", async (t) => {
  t.same(
    fields(
      { ...rule('has(self.a) && self.constructor == 1 && !has(self.toString)') },
      { a: 1, constructor: 1 },
    ),
    [],
  )
})

t.test('functions of Kubernetes', async (t) => {
  const cidr = rule('isIP(self) || (isCIDR(self) && cidr(self) == cidr(self).masked())')
  for (const text of ['10.0.0.0/8', '::1', '2001:db8::/32'])
    t.same(fields({ ...cidr }, text), [], text)
  for (const text of ['10.0.0.1/8', 'x', '::ffff:1.2.3.4', '10.0.0.0/99'])
    t.same(fields({ ...cidr }, text), [''], text)
  t.same(fields({ ...rule('cidr(self) == cidr(self)') }, 'x'), [''])
  t.same(fields({ ...rule('!ip(self).isUnspecified()') }, '0.0.0.0'), [''])
  t.same(fields({ ...rule('!ip(self).isUnspecified()') }, '127.0.0.1'), [])
  t.same(fields({ ...rule('ip(self).isLoopback()') }, '127.1.2.3'), [])
  t.same(fields({ ...rule('ip(self).isLoopback()') }, '10.0.0.1'), [''])
  t.same(fields({ ...rule("self.lowerAscii() == 'ab'") }, 'aB'), [])
})

t.test('a rule that does not compile is a bug in crds/', async (t) => {
  t.throws(() => compileRules({ ...rule('self.a ==') }))
  t.throws(() => compileRules({ ...rule('nosuch(self)') }), /nosuch/)
})
