/** Which reading of an encoded path counts: always the one that denies. */
import t from 'tap'
import { encodedForm, pathTermHolds } from '../../../../common/authz/path-match.ts'
import type { StringMatch } from '../../../../common/policy-set.ts'
import { is, not } from '../../../kit/policies.ts'

const EITHER = ":@!$&'()*+,;="
const term = (kind: 'is' | 'not', pattern: StringMatch) => ({ is: [], not: [], [kind]: [pattern] })
const exact = (value: string): StringMatch => ({ kind: 'exact', value })
const template = (...literals: string[]): StringMatch => ({
  kind: 'template',
  segments: [...literals.map((value) => ({ kind: 'literal', value }) as const), { kind: 'any' }],
})

/** What the pattern means for the path in each of the four places where a term can stand. */
function places(pattern: StringMatch, path: string) {
  return {
    denies: pathTermHolds(term('is', pattern), path, 'deny'),
    allows: pathTermHolds(term('is', pattern), path, 'allow'),
    savesFromDeny: !pathTermHolds(term('not', pattern), path, 'deny'),
    barsFromAllow: !pathTermHolds(term('not', pattern), path, 'allow'),
  }
}

const RAW = { denies: true, allows: true, savesFromDeny: true, barsFromAllow: true }
const ENCODED = { denies: true, allows: false, savesFromDeny: false, barsFromAllow: true }
const NONE = { denies: false, allows: false, savesFromDeny: false, barsFromAllow: false }

t.test('each character counts in both forms, in either case, where that denies', async (t) => {
  for (const char of EITHER) {
    const hex = encodedForm(char) ?? ''
    t.equal(String.fromCharCode(Number.parseInt(hex, 16)), char)
    t.same(places(exact(`/a${char}b`), `/a${char}b`), RAW, char)
    for (const form of [`%${hex}`, `%${hex.toLowerCase()}`]) {
      t.same(places(exact(`/a${char}b`), `/a${form}b`), ENCODED, form)
    }
  }
  t.equal(encodedForm('a'), undefined)
})

t.test('exact, prefix, suffix and template, raw and encoded mixed', async (t) => {
  const [prefix, suffix] = [is('/v1/a:b;*').is[0], is('*:b;c').is[0]]
  if (prefix === undefined || suffix === undefined) throw new Error('no pattern')
  for (const pattern of [exact('/v1/a:b;c'), prefix, suffix, template('v1', 'a:b;c')]) {
    const tail = pattern.kind === 'template' ? '/x' : ''
    t.same(places(pattern, `/v1/a:b;c${tail}`), RAW, pattern.kind)
    for (const path of ['/v1/a%3Ab;c', '/v1/a:b%3bc', '/v1/a%3ab%3Bc']) {
      t.same(places(pattern, path + tail), ENCODED, `${pattern.kind} ${path}`)
    }
    for (const path of ['/v1/a%3Bb;c', '/v1/a%3', '/v1/a%253Ab;c', '%3Ab']) {
      t.same(places(pattern, path + tail), NONE, `${pattern.kind} ${path}`)
    }
  }
})

t.test('the text as it is still counts everywhere', async (t) => {
  t.same(places({ kind: 'suffix', value: 'A' }, '/x%3A'), RAW)
  t.same(places({ kind: 'suffix', value: 'A:' }, '/x%3A%3A'), ENCODED)
  t.same(places({ kind: 'suffix', value: ':x' }, 'x'), NONE)
  t.same(places(exact('/a%20b'), '/a%20b'), RAW)
  t.same(places({ kind: 'present' }, '/a%20b'), RAW)
})

t.test('several patterns, both parts, and no path', async (t) => {
  const both = { is: is('/x', '/a:*').is, not: not('/a:b').not }
  t.ok(pathTermHolds(both, '/a%3Ab', 'deny'))
  t.notOk(pathTermHolds(both, '/a:b', 'deny'))
  t.notOk(pathTermHolds({ is: is('/a%3A*').is, not: both.not }, '/a%3Ab', 'allow'))
  t.ok(pathTermHolds({ is: is('/a%3A*').is, not: both.not }, '/a%3Ac', 'allow'))
  t.ok(pathTermHolds(not('/a:b'), undefined, 'deny'))
  t.notOk(pathTermHolds(not('/a:b'), undefined, 'allow'))
})
