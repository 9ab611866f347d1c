import t from 'tap'
import { attributeProblems } from '../../../../../controller/core/rego/attribute.ts'
import { findHidden, mergeData } from '../../../../../controller/core/rego/data.ts'
import { type RegoLibraryObject, resolveRego } from '../../../../../controller/core/rego/unit.ts'

const policy = (rego: object) => ({ metadata: { namespace: 'shop', name: 'p' }, spec: { rego } })
const library = (name: string, spec: object): RegoLibraryObject => ({
  metadata: { namespace: 'shop', name },
  spec,
})
const find = (...libraries: RegoLibraryObject[]) => {
  return (name: string) => libraries.find((l) => l.metadata.name === name)
}

t.test('a unit is the policy’s own module and the libraries that it names', async (t) => {
  const roles = library('roles', {
    modules: [
      { name: 'a', rego: 'package a' },
      { name: 'a.rego', rego: 'package b' },
    ],
    data: { roles: { x: 1 } },
  })
  const more = library('more', { data: { roles: { y: 2 } } })
  const names = [{ name: 'roles' }, { name: 'more' }, { name: 'roles' }]
  const resolved = resolveRego(policy({ module: 'package p', libraries: names }), find(roles, more))
  if (!resolved.ok) throw new Error('not resolved')
  t.match(resolved.unit, { entrypoint: 'envoy/authz/allow', regoVersion: 'V1' })
  t.same(resolved.unit.modules, [
    { name: 'library/roles/a-2.rego', text: 'package b' },
    { name: 'library/roles/a.rego', text: 'package a' },
    { name: 'policy.rego', text: 'package p' },
  ])
  t.same(resolved.data, { roles: { x: 1, y: 2 } })
  t.match(resolved.origins.get('library/roles/a-2.rego'), {
    object: { kind: 'PolicyLibrary', name: 'roles' },
    field: 'spec.modules[1].rego',
  })
})

t.test('equal content has an equal digest, whatever the policy’s name and data', async (t) => {
  const digest = (rego: object, ...libraries: RegoLibraryObject[]) => {
    const resolved = resolveRego(policy(rego), find(...libraries))
    return resolved.ok ? resolved.unit.digest : undefined
  }
  const one = digest({ module: 'package p' })
  t.match(one, /^[0-9a-f]{64}$/)
  t.equal(digest({ module: 'package p', entrypoint: 'envoy/authz/allow' }), one)
  t.not(digest({ module: 'package q' }), one)
  t.not(digest({ module: 'package p', regoVersion: 'V0' }), one)
  t.not(digest({ module: 'package p', entrypoint: 'p/x' }), one)
  const data = library('d', { data: { a: 1 } })
  t.equal(digest({ module: 'package p', libraries: [{ name: 'd' }] }, data), one)
})

t.test('libraryRef takes the modules from a library', async (t) => {
  const lib = library('lib', { modules: [{ name: 'm.rego', rego: 'package m' }] })
  const resolved = resolveRego(policy({ libraryRef: { name: 'lib' } }), find(lib))
  t.match(resolved, { ok: true, unit: { modules: [{ name: 'library/lib/m.rego' }] } })
  const empty = resolveRego(policy({ libraryRef: { name: 'd' } }), find(library('d', { data: {} })))
  t.match(empty, { ok: false, problems: [{ code: 'ERR_REGO_COMPILE', field: 'spec.rego' }] })
})

t.test('what is missing or contradicts is named', async (t) => {
  const rego = { module: 'm', libraryRef: { name: 'x' }, libraries: [{ name: 'y' }] }
  t.match(resolveRego(policy(rego), find()), {
    ok: false,
    problems: [
      { code: 'ERR_REFERENCE_NOT_FOUND', field: 'spec.rego.libraryRef.name' },
      { code: 'ERR_REFERENCE_NOT_FOUND', field: 'spec.rego.libraries[0].name' },
    ],
  })
  const a = library('a', { data: { x: { y: 1 } } })
  const b = library('b', { data: { x: { y: 2 } } })
  t.match(
    resolveRego(policy({ module: 'm', libraries: [{ name: 'a' }, { name: 'b' }] }), find(a, b)),
    {
      ok: false,
      problems: [
        { code: 'ERR_FIELD_VALUE', field: 'spec.rego.libraries[1].name', message: /x\.y/ },
      ],
    },
  )
})

t.test('data merges by key and never lets one value win', async (t) => {
  t.same(mergeData([]), { ok: true, data: {} })
  t.same(mergeData([{ a: [1] }, { a: [1], b: null }]), { ok: true, data: { a: [1], b: null } })
  t.same(mergeData([{ a: [1] }, { a: [2] }]), { ok: false, index: 1, path: 'a' })
  t.same(mergeData([{ a: {} }, { a: 1 }]), { ok: false, index: 1, path: 'a' })
  const hostile = JSON.parse('{"__proto__": {"x": 1}}')
  const merged = mergeData([hostile, { y: 2 }])
  t.equal(JSON.stringify(merged.ok && merged.data), '{"__proto__":{"x":1},"y":2}')
  t.equal(({} as { x?: unknown }).x, undefined)
})

t.test('problems go to whom they belong', async (t) => {
  const ref = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'p' }
  const lib = { kind: 'PolicyLibrary', namespace: 'shop', name: 'lib' }
  const origins = new Map([
    ['policy.rego', { object: ref, field: 'spec.rego.module' }],
    ['library/lib/m.rego', { object: lib, field: 'spec.modules[0].rego' }],
  ])
  const problem = (code: 'ERR_REGO_PARSE' | 'ERR_REGO_COMPILE', file?: string) => ({
    code,
    field: 'spec.rego.module',
    message: 'm',
    remedy: 'r',
    ...(file === undefined ? {} : { source: { file, line: 2, column: 3 } }),
  })
  const attribute = (p: ReturnType<typeof problem>) => attributeProblems(ref, [p], origins)
  t.match(attribute(problem('ERR_REGO_PARSE', 'policy.rego')), [
    {
      problem: {
        object: ref,
        field: 'spec.rego.module',
        message: /line 2, column 3 of the module/,
      },
      place: { line: 2, column: 3 },
    },
  ])
  t.match(attribute(problem('ERR_REGO_PARSE', 'library/lib/m.rego')), [
    { problem: { object: lib, field: 'spec.modules[0].rego' } },
    { problem: { object: ref, field: 'spec.rego.libraries' } },
  ])
  t.match(attribute(problem('ERR_REGO_COMPILE', 'library/lib/m.rego')), [
    {
      problem: { object: ref, field: 'spec.rego.libraries', message: /of library\/lib\/m\.rego/ },
      place: undefined,
    },
  ])
  t.match(attribute(problem('ERR_REGO_COMPILE')), [{ problem: { object: ref } }])
  const version = {
    ...problem('ERR_REGO_PARSE', 'library/lib/m.rego'),
    field: 'spec.rego.regoVersion',
  }
  t.match(attribute(version), [{ problem: { object: ref, field: 'spec.rego.regoVersion' } }])
  t.match(attribute({ ...version, source: { ...version.source, file: 'policy.rego' } } as never), [
    { problem: { object: ref, field: 'spec.rego.module' } },
  ])
  const onlyLibraries = new Map([...origins].slice(1))
  t.match(attributeProblems(ref, [problem('ERR_REGO_COMPILE')], onlyLibraries), [
    { problem: { field: 'spec.rego.libraryRef' } },
  ])
})

t.test('a rule and data at one place are found, also where one is above the other', async (t) => {
  const data = { roles: { alice: ['guest'] }, envoy: { authz: { limit: 5 } }, n: 1 }
  t.equal(findHidden(data, ['envoy/authz/allow', 'roles/bob']), undefined)
  t.equal(findHidden(data, ['envoy/authz/allow', 'envoy/authz/limit']), 'envoy.authz.limit')
  t.equal(findHidden(data, ['roles']), 'roles')
  t.equal(findHidden(data, ['n/is_one']), 'n.is_one', 'a value where the package would be')
  t.equal(findHidden(data, ['roles/alice/is_guest']), 'roles.alice.is_guest')
  t.equal(findHidden(data, ['constructor', 'roles/toString']), undefined)
  t.equal(findHidden({}, ['a/b']), undefined)
})
