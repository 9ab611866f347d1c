/**
 * The golden helper fails when it must: it is what all golden folders rest on.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compare, golden } from '../../kit/golden.ts'
import { tempDir } from '../../kit/tempdir.ts'

/** Stands in for a test: collects what `compare` says of it. */
function collector() {
  const failures: string[] = []
  return {
    failures,
    equal: (a: unknown, b: unknown, name?: unknown) =>
      a === b || !failures.push(`differs: ${name}`),
    fail: (message?: unknown) => !failures.push(String(message)),
    pass: () => true,
  }
}

function makeCase(root: string, files: Record<string, string>): string {
  const folder = join(root, 'room/case')
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

function judge(folder: string, outputs: Record<string, unknown>): string[] {
  const judged = collector()
  compare(judged as never, folder, outputs)
  return judged.failures
}

t.beforeEach(() => {
  delete process.env.TAP_SNAPSHOT
})

t.test('passes when every output is as it was written', async (t) => {
  const folder = makeCase(tempDir(t), { 'in.yaml': 'a: 1\n', 'out.yaml': 'b: 2\n' })
  t.same(judge(folder, { 'out.yaml': { b: 2 }, 'out.absent.yaml': undefined }), [])
})

t.test('fails on a difference, a missing output, an orphan and on nothing at all', async (t) => {
  const folder = makeCase(tempDir(t), { 'in.yaml': '', 'out.yaml': 'b: 2\n' })
  t.match(judge(folder, { 'out.yaml': { b: 3 } }), ['differs: out.yaml'])
  t.match(judge(folder, { 'out.yaml': { b: 2 }, 'out.json': {} }), [/out.json is missing/])
  t.match(judge(folder, { 'out.json': {} }), [/out.yaml is an orphan/, /out.json is missing/])
  t.match(judge(makeCase(tempDir(t), { 'in.yaml': '' }), {}), [/produces nothing/])
})

t.test('with TAP_SNAPSHOT=1 writes outputs and removes orphans, but no input', async (t) => {
  const folder = makeCase(tempDir(t), { 'in.yaml': 'x', 'in-more.yaml': 'y', 'out.old.yaml': 'z' })
  process.env.TAP_SNAPSHOT = '1'
  t.same(judge(folder, { 'out.json': { b: 2 }, 'out.txt': 'text' }), [])
  t.same(readdirSync(folder).sort(), ['in-more.yaml', 'in.yaml', 'out.json', 'out.txt'])
  t.equal(readFileSync(join(folder, 'out.json'), 'utf8'), '{\n  "b": 2\n}\n')
  t.equal(readFileSync(join(folder, 'out.txt'), 'utf8'), 'text\n')
})

t.test('runs each folder of a room as a subtest', async (t) => {
  const root = tempDir(t)
  makeCase(root, { 'in.yaml': 'hello', 'out.txt': 'HELLO\n' })
  const seen: string[] = []
  await golden(
    t,
    'room',
    (c) => {
      seen.push(c.name)
      return { 'out.txt': c.read().toUpperCase() }
    },
    root,
  )
  t.same(seen, ['case'])
})
