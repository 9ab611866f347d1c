import t from 'tap'
import { trimBlanks, trimChars } from '../../../common/trim.ts'

t.test('cuts both ends, and nothing within', async (t) => {
  t.equal(trimBlanks(' \ta \t b\t '), 'a \t b')
  t.equal(trimBlanks(' \t '), '')
  t.equal(trimBlanks('\na\n'), '\na\n')
  t.equal(trimChars(`"'a"b'"`, `"'`), 'a"b')
  t.equal(trimChars('==', '='), '')
})

// A quadratic way would not end before the test's time limit.
t.test('takes time in proportion to the text', async (t) => {
  const blanks = ' '.repeat(2_000_000)
  t.equal(trimBlanks(`a${blanks}b`).length, blanks.length + 2)
})
