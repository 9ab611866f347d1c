import t from 'tap'
import { parseManifests } from '../../../../../controller/core/crd/manifests.ts'

const policy = (name: string, spec: string) =>
  `apiVersion: postern.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n`

const parse = (text: string, path = 'a.yaml') => parseManifests([{ path, text }])

t.test('reads objects with their defaults, and says where they stand', async (t) => {
  const { documents, problems } = parse(
    `# none\n---\n${policy('a', '{}')}---\n${policy('b', '{action: DENY}')}`,
  )
  t.same(problems, [])
  t.match(documents, [
    {
      ref: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' },
      object: {
        spec: { action: 'ALLOW', mode: 'Enforce', required: false, onError: 'Deny' },
      },
      source: { file: 'a.yaml', line: 3 },
    },
    { ref: { name: 'b' }, object: { spec: { action: 'DENY' } } },
  ])
  t.equal(documents.length, 2)
})

t.test('names file, document, line, object, field and remedy', async (t) => {
  const { documents, problems } = parse(
    `${policy('a', '{}')}---\n${policy('b', '\n  acton: DENY')}`,
  )
  t.same(problems, [
    {
      code: 'ERR_FIELD_UNKNOWN',
      object: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'b' },
      field: 'spec.acton',
      message: 'unknown field "acton"',
      remedy: 'write "action", or remove it',
      source: { file: 'a.yaml', document: 2, line: 10, column: 3 },
    },
  ])
  t.equal(documents[1]?.object, undefined)
  t.same(documents[1]?.problems, problems)
})

t.test('a broken document does not hide the others', async (t) => {
  const { documents, problems } = parse(`a: b: c\n---\n${policy('b', '{}')}`)
  t.match(problems, [
    { code: 'ERR_MANIFEST_NOT_YAML', source: { file: 'a.yaml', document: 1, line: 1 } },
  ])
  t.equal(documents[0]?.ref, undefined)
  t.ok(documents[1]?.object)
})

t.test('takes a List apart', async (t) => {
  const item = { apiVersion: 'postern.dev/v1alpha1', kind: 'Mesh', metadata: { name: 'mesh' } }
  const list = {
    apiVersion: 'v1',
    kind: 'List',
    items: [{ ...item, spec: { trustDomain: 'a.b' } }, 7],
  }
  const { documents, problems } = parse(JSON.stringify(list))
  t.match(documents[0], {
    ref: { kind: 'Mesh', name: 'mesh' },
    object: { spec: { trustDomain: 'a.b' } },
  })
  t.match(problems, [{ code: 'ERR_FIELD_TYPE', field: '' }])
})

t.test('refuses files that cannot be read or are too large', async (t) => {
  const { documents, problems } = parseManifests([
    { path: 'a.yaml', unreadable: 'permission denied' },
    { path: 'b.yaml', text: `# ${'x'.repeat(1024 * 1024)}` },
  ])
  t.same(documents, [])
  t.match(problems, [
    { code: 'ERR_MANIFEST_NOT_READABLE', message: /permission denied/, source: { file: 'a.yaml' } },
    { code: 'ERR_MANIFEST_TOO_LARGE', source: { file: 'b.yaml' } },
  ])
})

t.test('two objects of one name: both refused, each naming the other', async (t) => {
  const { documents, problems } = parseManifests([
    { path: 'a.yaml', text: policy('a', '{}') },
    { path: 'b.yaml', text: `${policy('b', '{}')}---\n${policy('a', '{action: DENY}')}` },
  ])
  t.match(problems, [
    { code: 'ERR_OBJECT_DUPLICATE', message: /a\.yaml:1 .*b\.yaml:6 \(document 2\)/ },
    { code: 'ERR_OBJECT_DUPLICATE', message: /b\.yaml:6 .*a\.yaml:1 \(document 1\)/ },
  ])
  t.same(
    documents.map((d) => d.object !== undefined),
    [false, true, false],
  )
})

t.test('an empty file holds nothing', async (t) => {
  for (const text of ['', '\n', '# only this\n', '---\n---\n', '---\n# a\n---\n']) {
    t.same(parse(text), { documents: [], problems: [] }, JSON.stringify(text))
  }
})

t.test('objects of others are named and refused', async (t) => {
  const { problems } = parse('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {}\n')
  t.match(problems, [
    { code: 'ERR_OBJECT_UNKNOWN_KIND', object: { kind: 'ConfigMap', name: 'x' }, field: 'kind' },
  ])
})

t.test('hostile YAML is refused, not suffered', async (t) => {
  const bomb = [
    'a0: &a0 [x, x, x, x, x, x, x, x, x, x]',
    ...Array.from(
      { length: 9 },
      (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(', ')}]`,
    ),
  ].join('\n')
  const deep = `a: ${'['.repeat(200_000)}`
  const flat = `a: ${'['.repeat(5_000)}${']'.repeat(5_000)}`
  for (const text of [bomb, deep, flat, 'a: 1\na: 2\n', 'a: !!js/function x\n', '*x\n']) {
    t.match(parse(text).problems, [{ code: 'ERR_MANIFEST_NOT_YAML' }], text.slice(0, 30))
  }
})

t.test('keys that JavaScript knows are data', async (t) => {
  const { problems } = parse(
    policy('a', '{__proto__: {action: DENY}, constructor: 1, toString: 2}'),
  )
  t.same(
    problems.map((p) => [p.code, p.field]),
    [
      ['ERR_FIELD_UNKNOWN', 'spec.__proto__'],
      ['ERR_FIELD_UNKNOWN', 'spec.constructor'],
      ['ERR_FIELD_UNKNOWN', 'spec.toString'],
    ],
  )
})

t.test('what cannot be changed is compared with the object before', async (t) => {
  const mesh = (domain: string) =>
    `apiVersion: postern.dev/v1alpha1\nkind: Mesh\nmetadata: {name: mesh}\nspec: {trustDomain: ${domain}}\n`
  const [first] = parse(mesh('example.org')).documents
  const previous = () => first?.object
  t.same(parseManifests([{ path: 'a.yaml', text: mesh('example.org') }], { previous }).problems, [])
  t.match(parseManifests([{ path: 'a.yaml', text: mesh('example.com') }], { previous }).problems, [
    { code: 'ERR_RULE_VIOLATED', field: 'spec.trustDomain', source: { line: 4 } },
  ])
})

t.test('a thousand small documents take well under a second', async (t) => {
  const text = Array.from({ length: 1000 }, (_, i) =>
    policy(`p${i}`, '{rules: [{to: [{operation: {paths: [/a]}}]}]}'),
  ).join('---\n')
  const start = performance.now()
  t.equal(parse(text).documents.length, 1000)
  const ms = performance.now() - start
  t.comment(`${Math.round(ms)} ms`)
  t.ok(ms < 3000, 'with room for a busy machine')
})
