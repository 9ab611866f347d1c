import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { toPrintable, toPrintableLine } from '../../../../cli/output/printable.ts'
import { formatTable } from '../../../../cli/output/table.ts'

const CLI = join(import.meta.dirname, '../../../../cli')

t.test('escapes what a terminal would obey, and nothing else', async (t) => {
  t.equal(toPrintable('a\x1b[2K\x07b\x7f\x9b31m'), 'a\\u001b[2K\\u0007b\\u007f\\u009b31m')
  t.equal(toPrintable('a\u202eb\u2066c\u2028d\ufeff'), 'a\\u202eb\\u2066c\\u2028d\\ufeff')
  t.equal(toPrintable('carriage\rreturn'), 'carriage\\u000dreturn')
  const plain = 'Grüße, 世界 ✓ “quoted” {"a":1}\n\tindented\n'
  t.equal(toPrintable(plain), plain)
})

t.test('escapes characters beyond the BMP as JSON does', async (t) => {
  const tag = '\u{e0001}'
  t.equal(toPrintable(tag), '\\udb40\\udc01')
  t.equal(JSON.parse(`"${toPrintable(tag)}"`), tag)
})

t.test('a line stays one line, and a cell cannot begin a row', async (t) => {
  t.equal(toPrintableLine('a\nb\tc'), 'a\\nb\\tc')
  const table = formatTable([
    ['NAME', 'MESSAGE'],
    ['x', 'refused\nforged   fine'],
  ])
  t.equal(table.split('\n').length, 3, 'two rows and the end')
})

t.test('nothing in cli/ writes to stdout but print.ts', async (t) => {
  const writers = globSync('**/*.ts', { cwd: CLI }).filter((file) =>
    /process\.stdout|console\./.test(readFileSync(join(CLI, file), 'utf8')),
  )
  t.same(writers, [join('output', 'print.ts')])
})
