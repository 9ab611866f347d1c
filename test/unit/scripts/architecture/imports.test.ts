/**
 * Imports are read from code, and from nothing that only looks like code.
 */
import t from 'tap'
import { importsOf, packageOf } from '../../../../scripts/architecture/imports.ts'
import { lex } from '../../../../scripts/architecture/lexer.ts'

const specifiers = (source: string) => importsOf('a/b/c.ts', source).map((i) => i.specifier)

t.test('finds every form of import', async (t) => {
  const source = `import 'side-effect'
import fs from 'node:fs'
import * as path from "node:path"
import { a, type B } from '../d.ts'
import type { C } from './e.ts'
import {
  f,
  g,
} from '../../f.ts'
export { h } from './h.ts'
export * from './i.ts'
export type { J } from './j.ts'
const k = await import('./k.ts')
`
  t.same(
    importsOf('a/b/c.ts', source).map((i) => [i.specifier, i.path, i.typeOnly, i.line]),
    [
      ['side-effect', undefined, false, 1],
      ['node:fs', undefined, false, 2],
      ['node:path', undefined, false, 3],
      ['../d.ts', 'a/d.ts', false, 4],
      ['./e.ts', 'a/b/e.ts', true, 5],
      ['../../f.ts', 'f.ts', false, 9],
      ['./h.ts', 'a/b/h.ts', false, 10],
      ['./i.ts', 'a/b/i.ts', false, 11],
      ['./j.ts', 'a/b/j.ts', true, 12],
      ['./k.ts', 'a/b/k.ts', false, 13],
    ],
  )
})

t.test('is not fooled by comments, strings, templates and regular expressions', async (t) => {
  t.same(specifiers(`// import './a.ts'\n/* import './b.ts' */ const s = "import './c.ts'"`), [])
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the template stands in the source that is read
  t.same(specifiers("const s = `import './a.ts' ${x ? `import './b.ts'` : {}} from './c.ts'`"), [])
  t.same(specifiers(`const r = /['"]/; import './a.ts'`), ['./a.ts'])
  t.same(specifiers(`const q = a / b; import './a.ts'; const d = c / 2 // "`), ['./a.ts'])
  t.same(specifiers(`const r = /[/"]/g.test(x)\nimport './a.ts'`), ['./a.ts'])
  t.same(specifiers(`export const from = 'x'\nexport const y = 'from'`), [])
  t.same(specifiers(`export function f() { return 'x' }`), [])
  t.same(specifiers(`const u = import.meta.resolve('x'); import.meta.dirname + 'y'`), [])
})

t.test('a file whose default import is called type is no type import', async (t) => {
  t.same(
    importsOf('a.ts', `import type from 'x'`).map((i) => i.typeOnly),
    [false],
  )
})

t.test('blanked text keeps its length and its lines', async (t) => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the template stands in the source that is read
  const source = 'l1 = `X${l2 + `Y`}Z` // C\n/* D\n E */ "F\\"G" + (/[H"]/) + \'É😀\' / l3\n'
  const { code } = lex(source)
  t.equal(code.length, source.length)
  t.equal(code.split('\n').length, source.split('\n').length)
  t.notMatch(code, /[A-Z]/)
  t.match(code, /l1.*l2[\s\S]*l3/)
})

t.test('names the package of a specifier', async (t) => {
  t.equal(packageOf('@bufbuild/protobuf/wkt'), '@bufbuild/protobuf')
  t.equal(packageOf('node:fs/promises'), 'node:fs')
  t.equal(packageOf('ajv/dist/2020.js'), 'ajv')
})
