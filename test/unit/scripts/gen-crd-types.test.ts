import t from 'tap'
import { readCrd } from '../../../scripts/crd/crd.ts'
import { crdDocs } from '../../../scripts/crd/docs.ts'
import { typesModule } from '../../../scripts/crd/types.ts'
import { findDrift, generate } from '../../../scripts/gen-crd-types.ts'

function crd(spec: Record<string, unknown>, root: Record<string, unknown> = {}) {
  const openAPIV3Schema = {
    type: 'object',
    description: 'A thing.',
    required: ['spec'],
    properties: { spec: { type: 'object', description: 'Its wishes.', properties: spec } },
    ...root,
  }
  const names = { kind: 'Thing', plural: 'things', singular: 'thing', shortNames: ['th'] }
  const version = { name: 'v1alpha1', additionalPrinterColumns: [], schema: { openAPIV3Schema } }
  return { spec: { group: 'postern.dev', scope: 'Namespaced', names, versions: [version] } }
}

t.test('what is committed is what crds/ says', async (t) => {
  const files = await generate()
  t.same(await findDrift(files), [])
  t.same(await generate(), files, 'deterministic')
  const [path = ''] = files.keys()
  t.same(await findDrift(new Map(files).set(path, 'other')), [path])
  files.delete(path)
  t.same(await findDrift(files), [path], 'an orphan is drift')
})

t.test('refuses what standalone would not check', async (t) => {
  const read = (document: unknown) => readCrd('things.yaml', document)
  t.throws(
    () => read(crd({ a: { type: 'string', description: 'A.', oneOf: [] } })),
    /spec\.a: keyword oneOf/,
  )
  t.throws(() => read(crd({ a: { type: 'string' } })), /spec\.a: has no description/)
  const rules = [{ rule: 'true', message: 'm', messageExpression: "'m'" }]
  t.throws(() => read(crd({}, { 'x-kubernetes-validations': rules })), /messageExpression/)
  const other = crd({})
  t.throws(() => read({ spec: { ...other.spec, group: 'example.org' } }), /postern\.dev/)
})

t.test('types: defaulted fields are there, lists are readonly', async (t) => {
  const text = await typesModule(
    readCrd(
      'things.yaml',
      crd({
        a: { type: 'string', description: 'A.', enum: ['x', 'y'], default: 'x' },
        b: { type: 'array', description: 'B.', items: { type: 'string' } },
        c: { description: 'C.', 'x-kubernetes-int-or-string': true },
      }),
    ),
  )
  t.match(text, "readonly a: 'x' | 'y'")
  t.match(text, 'readonly b?: readonly string[]')
  t.match(text, 'readonly c?: number | string')
  t.match(text, "readonly kind: 'Thing'")
})

t.test('docs: a row per field, rules below', async (t) => {
  const rules = [{ rule: 'true', message: 'be kind' }]
  const text = crdDocs([
    readCrd(
      'things.yaml',
      crd({
        a: { type: 'integer', description: 'A | b.', minimum: 1, maximum: 9, default: 2 },
        m: {
          type: 'object',
          description: 'M.',
          additionalProperties: { type: 'string', maxLength: 3 },
          'x-kubernetes-validations': rules,
        },
      }),
    ),
  ])
  t.match(text, '| **`spec`** | object |  | Its wishes. |')
  t.match(text, '| `spec.a` | integer (1 to 9) | `2` | A \\| b. |')
  t.match(text, '| `spec.m` | map to string (at most 3 characters) |  | M. |')
  t.match(text, '- `spec.m`: be kind')
})
