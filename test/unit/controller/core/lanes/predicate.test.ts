/** Predicates fold, and text becomes a regular expression only escaped. */
import t from 'tap'
import {
  all,
  any,
  escapeRegex,
  escapeRegexIgnoringCase,
  FALSE,
  not,
  PATH,
  TRUE,
  text,
} from '../../../../../controller/core/lanes/predicate.ts'

const A = text(PATH, 'exact', 'a')
const B = text(PATH, 'exact', 'b')

t.test('constants fold away', async (t) => {
  t.equal(all([]), TRUE)
  t.equal(any([]), FALSE)
  t.equal(all([A, TRUE]), A)
  t.equal(all([A, FALSE]), FALSE)
  t.equal(any([A, FALSE]), A)
  t.equal(any([A, TRUE]), TRUE)
  t.equal(not(TRUE), FALSE)
  t.equal(not(not(A)), A)
  t.same(all([all([A, B]), A]), { kind: 'and', of: [A, B, A] })
  t.same(any([all([A, B]), A]), { kind: 'or', of: [{ kind: 'and', of: [A, B] }, A] })
})

t.test('escaped text matches itself and nothing else', async (t) => {
  const texts = ['a.b', '(?i)x|y*', '[a-z]+', '\\d{2}', '^$', 'a/b?c', 'é', 'a b', '{*}', '-]']
  for (const literal of texts) {
    t.ok(new RegExp(`^(?:${escapeRegex(literal)})$`).test(literal), literal)
    t.notOk(new RegExp(`^(?:${escapeRegex(literal)})$`).test(`${literal}x`), literal)
  }
  t.equal(escapeRegex('a\n.'), 'a\\x{a}\\.')
  t.equal(escapeRegexIgnoringCase('Kx-1'), '[kK][xX]\\-1')
})
