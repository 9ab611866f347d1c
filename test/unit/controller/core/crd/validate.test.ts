import t from 'tap'
import { applyDefaults } from '../../../../../controller/core/crd/defaults.ts'
import { formatPath } from '../../../../../controller/core/crd/field-path.ts'
import type { Kind } from '../../../../../controller/core/crd/generated/objects.ts'
import { KINDS, SCHEMAS } from '../../../../../controller/core/crd/generated/schemas.ts'
import { DESCRIBED_PATTERNS } from '../../../../../controller/core/crd/patterns.ts'
import type { Schema } from '../../../../../controller/core/crd/schema.ts'
import { nearest } from '../../../../../controller/core/crd/suggest.ts'
import { validateObject } from '../../../../../controller/core/crd/validate.ts'

function findings(kind: Kind, object: Record<string, unknown>) {
  const result = validateObject(kind, object)
  return result.ok ? [] : result.findings.map((f) => ({ ...f, path: formatPath(f.path) }))
}

const meta = (metadata: unknown) => ({ metadata, spec: {} })

t.test('defaults: nested, in lists, for null; the input stays', async (t) => {
  const schema: Schema = {
    type: 'object',
    properties: {
      a: { type: 'object', default: {}, properties: { b: { type: 'integer', default: 1 } } },
      c: {
        type: 'array',
        items: { type: 'object', properties: { d: { type: 'string', default: 'x' } } },
      },
      e: { type: 'string' },
      f: { type: 'string', default: 'y' },
      g: { type: 'object', additionalProperties: { type: 'string' } },
      h: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    },
  }
  const input = {
    c: [{}, { d: 'z' }, null],
    e: null,
    f: null,
    g: { p: null, q: 'r' },
    h: { any: null },
    i: 1,
  }
  const before = structuredClone(input)
  t.same(applyDefaults(input, schema), {
    c: [{ d: 'x' }, { d: 'z' }, null],
    f: 'y',
    g: { q: 'r' },
    h: { any: null },
    a: { b: 1 },
  })
  t.same(input, before)
  const [one, two] = [applyDefaults({}, schema), applyDefaults({}, schema)] as { a: object }[]
  t.not(one?.a, two?.a, 'defaults are copies')
  const hostile = applyDefaults(JSON.parse('{"h": {"__proto__": {"x": 1}}}'), schema) as {
    h: object
  }
  t.ok(
    Object.hasOwn(hostile.h, '__proto__') && Object.getPrototypeOf(hostile.h) === Object.prototype,
  )
})

t.test('metadata', async (t) => {
  const cases: [unknown, string[]][] = [
    [undefined, ['metadata.name']],
    ['x', ['metadata']],
    [{ name: 7 }, ['metadata.name']],
    [{ name: 'a', namespace: 'a.b' }, ['metadata.namespace']],
    [{ name: 'a', namespace: null, labels: null, uid: null }, []],
    [
      { name: 'a', generation: 'x', finalizers: 'x', labels: 'x' },
      ['metadata.generation', 'metadata.finalizers', 'metadata.labels'],
    ],
    [{ name: 'a', labels: { x: 1, y: null } }, ['metadata.labels.x']],
    [
      { name: 'a', labels: { 'a.b/c': 'ok', '/c': '', 'A_/c': '', ['x'.repeat(64)]: '' } },
      ['metadata.labels[/c]', 'metadata.labels[A_/c]', `metadata.labels.${'x'.repeat(64)}`],
    ],
    [{ name: 'a', annotations: { x: 'y'.repeat(262_144) } }, ['metadata.annotations']],
    [{ name: 'a', creationTimestamp: 5 }, ['metadata.creationTimestamp']],
    [{ name: 'a', creationTimestamp: 'yesterday' }, ['metadata.creationTimestamp']],
    [{ name: 'a'.repeat(254) }, ['metadata.name']],
  ]
  for (const [metadata, fields] of cases) {
    t.same(
      findings('AuthorizationPolicy', meta(metadata)).map((f) => f.path),
      fields,
      JSON.stringify(metadata)?.slice(0, 60),
    )
  }
})

t.test('scope: namespaced objects are in `default`, cluster-scoped ones nowhere', async (t) => {
  t.match(validateObject('AuthorizationPolicy', meta({ name: 'a' })), {
    object: { metadata: { name: 'a', namespace: 'default' } },
  })
  const mesh = validateObject('Mesh', {
    metadata: { name: 'mesh', namespace: 'x' },
    spec: { trustDomain: 'a' },
  })
  t.ok(mesh.ok && !('namespace' in mesh.object.metadata))
})

t.test('status is dropped', async (t) => {
  const result = validateObject('AuthorizationPolicy', {
    ...meta({ name: 'a' }),
    status: { conditions: 'nonsense' },
  })
  t.ok(result.ok && !('status' in result.object))
})

t.test('numbers that would change are refused', async (t) => {
  const data = { id: 2 ** 53, list: [1.5, Number.POSITIVE_INFINITY], small: 2 ** 53 - 1 }
  t.match(findings('PolicyLibrary', { metadata: { name: 'a' }, spec: { data } }), [
    { code: 'ERR_FIELD_VALUE', path: 'spec.data.id' },
    { code: 'ERR_FIELD_VALUE', path: 'spec.data.list[1]' },
  ])
})

t.test('limits and sizes are told in words', async (t) => {
  const spec = (value: Record<string, unknown>) =>
    findings('AuthorizationPolicy', { metadata: { name: 'a' }, spec: value })
  t.match(spec({ rules: Array(161).fill({}) }), [
    { code: 'ERR_FIELD_VALUE', message: /at most 160 entries/ },
  ])
  t.match(spec({ rego: { module: 'x'.repeat(524_289) } }), [
    { message: /at most 524288 characters/ },
  ])
  t.match(spec({ action: 'Audit' }), [{ remedy: 'write "AUDIT"' }])
  t.match(spec({ action: 'log' }), [{ remedy: 'write "ALLOW" or "DENY" or "AUDIT"' }])
  t.match(spec({ mode: null, action: true }), [
    { code: 'ERR_FIELD_TYPE', message: 'must be a string, not a boolean' },
  ])
  t.match(spec({ rules: [{ to: [{ operation: { ports: [1.5] } }] }] }), [
    { path: 'spec.rules[0].to[0].operation.ports[0]' },
  ])
  const long = `/${'a'.repeat(200)}?`
  t.match(spec({ rules: [{ to: [{ operation: { paths: [long] } }] }] }), [
    { message: /^"\/a{79}…" has a query/ },
  ])
  t.match(
    findings('CertificateAuthority', {
      metadata: { name: 'a' },
      spec: { selfSigned: {}, maxSvidLifetimeSeconds: 7_776_001 },
    }),
    [{ message: 'must be at most 7776000' }],
  )
})

t.test('every pattern is told in words', async (t) => {
  const patterns = new Set(KINDS.flatMap(({ kind }) => patternsIn(SCHEMAS[kind].properties?.spec)))
  // semantics.ts tells these, value by value.
  const rules = patternsIn(SCHEMAS.AuthorizationPolicy.properties?.spec?.properties?.rules)
  for (const pattern of rules) patterns.delete(pattern)
  t.same(
    [...patterns].filter((p) => !DESCRIBED_PATTERNS.has(p)),
    [],
  )
})

function patternsIn(schema: Schema | undefined): string[] {
  if (schema === undefined) return []
  const { pattern, properties = {}, items, additionalProperties } = schema
  return [
    ...(pattern === undefined ? [] : [pattern]),
    ...[...Object.values(properties), items, additionalProperties].flatMap(patternsIn),
  ]
}

t.test('structural: what the API server wants of schemas is bounded', async (t) => {
  for (const { kind } of KINDS) {
    for (const [path, schema] of nodes(SCHEMAS[kind].properties?.spec ?? {}, `${kind}.spec`)) {
      if (schema.type === 'array') t.ok(schema.maxItems, `${path}: maxItems`)
      if (schema.additionalProperties) t.ok(schema.maxProperties, `${path}: maxProperties`)
      const closed = schema.type === 'string' && schema.enum === undefined
      if (closed) t.ok(schema.maxLength, `${path}: maxLength`)
    }
  }
})

function nodes(schema: Schema, path: string): [string, Schema][] {
  const children = Object.entries(schema.properties ?? {}).flatMap(([k, s]) =>
    nodes(s, `${path}.${k}`),
  )
  const items = schema.items ? nodes(schema.items, `${path}[]`) : []
  const values = schema.additionalProperties ? nodes(schema.additionalProperties, `${path}.*`) : []
  return [[path, schema], ...children, ...items, ...values]
}

t.test('did you mean', async (t) => {
  t.equal(nearest('acton', ['action', 'mode']), 'action')
  t.equal(nearest('MODE', ['action', 'mode']), 'mode')
  t.equal(nearest('zebra', ['action', 'mode']), undefined)
  t.equal(nearest('x'.repeat(100), ['x'.repeat(100)]), undefined)
})
