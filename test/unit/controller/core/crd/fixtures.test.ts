/** Every manifest of test/fixtures/manifests gets the verdict that its head names. */
import t from 'tap'
import { formatProblem } from '../../../../../common/errors.ts'
import { parseManifests } from '../../../../../controller/core/crd/manifests.ts'
import { badFixtures, goodFixtures } from '../../../../kit/manifest-fixtures.ts'

t.test('good manifests are accepted', async (t) => {
  for (const { name, text } of goodFixtures()) {
    const { documents, problems } = parseManifests([{ path: name, text }])
    t.same(problems.map(formatProblem), [], name)
    t.ok(documents.length > 0 && documents.every((d) => d.object), name)
  }
})

t.test('bad manifests: one problem, with code and field', async (t) => {
  for (const { name, text, judge, problems } of badFixtures()) {
    const found = parseManifests([{ path: name, text }]).problems
    // What only the model can judge is well-formed here.
    const wanted = judge === 'model' ? [] : problems
    t.same(
      found.map((p) => ({ code: p.code, field: p.field })),
      wanted,
      `${name}\n${found.map(formatProblem).join('\n')}`,
    )
  }
})

t.test('messages can be read: lower case, no period, a remedy, a place', async (t) => {
  for (const { name, text } of badFixtures()) {
    for (const problem of parseManifests([{ path: name, text }]).problems) {
      t.match(problem.message, /^[a-z"']/, name)
      t.notMatch(problem.message, /\.$/, name)
      t.match(problem.remedy, /^[a-z]/, name)
      t.match(problem.source, { file: name, document: Number, line: Number, column: Number })
      // A pattern is for machines.
      t.notMatch(problem.message, /does not have the form/, name)
    }
  }
})
