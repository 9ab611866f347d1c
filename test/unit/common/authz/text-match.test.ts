/** Literal patterns and Istio's path templates. */
import t from 'tap'
import { matchesText } from '../../../../common/authz/text-match.ts'
import type { StringMatch } from '../../../../common/policy-set.ts'
import { pattern } from '../../../kit/policies.ts'

function template(text: string): StringMatch {
  return {
    kind: 'template',
    segments: text
      .slice(1)
      .split('/')
      .map((s) =>
        s === '{*}'
          ? { kind: 'one' }
          : s === '{**}'
            ? { kind: 'any' }
            : { kind: 'literal', value: s },
      ),
  }
}

t.test('patterns', async (t) => {
  const yes = [
    ['a', 'a'],
    ['a*', 'a'],
    ['a*', 'ab'],
    ['*a', 'ba'],
    ['*', 'x'],
  ] as const
  const no = [
    ['a', 'A'],
    ['a', 'ab'],
    ['a*', 'ba'],
    ['*a', 'ab'],
    ['*', ''],
  ] as const
  for (const [p, text] of yes) t.ok(matchesText(pattern(p), text), `${p} meets ${text}`)
  for (const [p, text] of no) t.notOk(matchesText(pattern(p), text), `${p} does not meet ${text}`)
})

t.test('templates', async (t) => {
  const yes: readonly [string, string][] = [
    ['/a/{*}', '/a/x'],
    ['/{*}/b', '/x/b'],
    ['/a/{**}', '/a/'],
    ['/a/{**}', '/a/x/y'],
    ['/{**}', '/'],
    ['/a/{*}/{**}', '/a/x/'],
    ['/a/', '/a/'],
  ]
  const no: readonly [string, string][] = [
    ['/a/{*}', '/a/'],
    ['/a/{*}', '/a'],
    ['/a/{*}', '/a/x/'],
    ['/a/{*}', '/a/x/y'],
    ['/a/{**}', '/a'],
    ['/a/{**}', '/b/x'],
    ['/a/{*}/{**}', '/a/x'],
    ['/{**}/b', '/x/b'],
    ['/{**}', '*'],
    ['/a/', '/a'],
  ]
  for (const [p, path] of yes) t.ok(matchesText(template(p), path), `${p} meets ${path}`)
  for (const [p, path] of no) t.notOk(matchesText(template(p), path), `${p} does not meet ${path}`)
})
