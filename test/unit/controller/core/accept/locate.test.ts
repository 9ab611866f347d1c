import t from 'tap'
import { locateIn, splitField } from '../../../../../controller/core/accept/locate.ts'

const TEXT = `a: 1
---
spec:
  rego:
    module: |   # why
      package x

      allow := 1
  folded: >-
    package y
  list:
    - name: b
  "8080": { mode: STRICT }
`
const locate = locateIn(TEXT, { file: 'f.yaml', document: 2, line: 3, column: 1 })

t.test('a field, or what exists of it', async (t) => {
  t.match(locate('spec.rego.module'), { file: 'f.yaml', document: 2, line: 5, column: 5 })
  t.match(locate('spec.list[0].name'), { line: 12, column: 7 })
  t.match(locate('spec[8080].mode'), { line: 13 })
  t.match(locate('spec.rego.nothing'), { line: 4 })
  t.match(locate(''), { line: 3, column: 1 })
})

t.test('a line inside a block', async (t) => {
  t.match(locate('spec.rego.module', { line: 3, column: 1 }), { line: 8, column: 7 })
  t.match(locate('spec.folded', { line: 1, column: 1 }), { line: 9 }, 'folded text has no lines')
})

t.test('a document that is not there', async (t) => {
  const lost = locateIn('', { file: 'f.yaml', document: 7 })
  t.same(lost('spec.x'), { file: 'f.yaml', document: 7 })
})

t.test('splits what formatPath joins', async (t) => {
  t.same(splitField('spec.rules[0].from'), ['spec', 'rules', 0, 'from'])
  t.same(splitField('metadata.labels[app.kubernetes.io/name]'), [
    'metadata',
    'labels',
    'app.kubernetes.io/name',
  ])
})
