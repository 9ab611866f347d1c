/**
 * The counter says what ran: CI's last line and its exit code rest on it.
 */
import t from 'tap'
import { countTap } from '../../../../scripts/tests/count.ts'

function count(tap: string, chunkSize = tap.length) {
  const failures: string[] = []
  const skips: string[] = []
  const files: string[] = []
  const counter = countTap({
    onFile: (name, ok) => void files.push(`${ok ? 'ok' : 'not ok'} ${name}`),
    onFailure: (path, diagnosis) => void failures.push(`${path.join(' > ')}|${diagnosis}`),
    onSkip: (path) => void skips.push(path.join(' > ')),
  })
  for (let i = 0; i < tap.length; i += chunkSize) counter.write(tap.slice(i, i + chunkSize))
  return { ...counter.end(), failures, skips, files }
}

const TWO_FILES = `TAP version 14
# Subtest: a.test.ts
    # Subtest: adds
        ok 1 - one
        ok 2 - two
        1..2
    ok 1 - adds # time=1ms
    ok 2 - lone
    1..2
ok 1 - a.test.ts # time=5ms
ok 2 - b.test.ts # time=6ms {
    ok 1 - only
    1..1
}
1..2
`

t.test('counts assertions, not subtests or files', async (t) => {
  const whole = count(TWO_FILES)
  t.match(whole, { passed: 4, failed: 0, skipped: 0, ok: true, failures: [], skips: [] })
  t.same(whole.files, ['ok a.test.ts', 'ok b.test.ts'])
  t.same(count(TWO_FILES, 7), whole, 'in chunks')
})

t.test('names a failed assertion with its path and diagnosis, and counts it once', async (t) => {
  const result = count(`# Subtest: a.test.ts
    # Subtest: adds
        not ok 1 - one
          ---
          found: 3
          ...
        1..1
    not ok 1 - adds
    1..1
not ok 1 - a.test.ts
1..1
`)
  t.match(result, { passed: 0, failed: 1, ok: false, files: ['not ok a.test.ts'] })
  t.match(result.failures, [/^a\.test\.ts > adds > one\|found: 3/])
})

t.test('a file that crashes, finds no test or times out is one failure', async (t) => {
  const result = count(`# Subtest: a.test.ts
    ok 1 - fine
    1..1
not ok 1 - a.test.ts
  ---
  exitCode: 1
  ...
# Subtest: b.test.ts
    1..0 # no tests found
not ok 2 - b.test.ts
1..2
`)
  t.match(result, { passed: 1, failed: 2, ok: false })
})

t.test('skipped and TODO are told and not counted as passed', async (t) => {
  const result = count(`# Subtest: a.test.ts
    ok 1 - later # SKIP no envoy
    not ok 2 - some day # TODO
    ok 3 - now
    1..3
ok 1 - a.test.ts
1..1
`)
  t.match(result, { passed: 1, failed: 0, skipped: 2 })
  t.same(result.skips, ['a.test.ts > later', 'a.test.ts > some day'])
})

t.test('a stream that ends early is not ok', async (t) => {
  t.equal(count('# Subtest: a.test.ts\n    ok 1 - one\n').ok, false)
  t.equal(count('').ok, false)
  t.equal(count('ok 1 - a.test.ts\nBail out! disk full\n').ok, false)
})
