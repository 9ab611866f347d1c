/**
 * The map is executable: the imports of the whole repository keep to the directions of docs/decisions/0001, core stays
 * pure, every room is named, every test is run. What each rule catches: test/unit/scripts/architecture/check.test.ts.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkHouse } from '../scripts/architecture/check.ts'
import { readHouse } from '../scripts/architecture/read.ts'

const ROOT = join(import.meta.dirname, '..')
const house = readHouse(ROOT)

t.test('the house keeps its rules', async (t) => {
  t.ok(house.files.size > 50, 'the whole tree was read')
  const violations = checkHouse(house)
  for (const { rule, path, message } of violations) t.fail(`${rule}: ${path}: ${message}`)
  t.equal(violations.length, 0)
})

t.test('docs/architecture.md names rooms and files that are there', async (t) => {
  const page = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')
  const named =
    page.match(/\b(?:common|controller|sidecar|cli|scripts|test)\/[\w./-]*\w\.ts\b/g) ?? []
  t.ok(named.length > 20, 'the flows name files')
  for (const path of new Set(named)) t.ok(existsSync(join(ROOT, path)), path)
  for (const room of Object.keys(house.rooms)) t.ok(page.includes(`| \`${room}\` |`), room)
})
