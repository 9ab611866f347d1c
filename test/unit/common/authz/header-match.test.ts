/** A repeated or empty header evades nothing: the reading that denies is the one that counts. */
import t from 'tap'
import { headerTermHolds } from '../../../../common/authz/header-match.ts'
import { is, not } from '../../../kit/policies.ts'

const ALLOW = 'allow'
const DENY = 'deny'

const CASES = [
  // value, term, allow, deny
  ['blue', is('blue'), true, true],
  ['red', is('blue'), false, false],
  ['blue,red', is('blue'), false, true],
  ['red, blue', is('blue'), false, true],
  ['red,\tblue ', is('blue'), false, true],
  ['blue,red', is('blue,red'), true, true],
  ['x,blue,red', is('blue,red'), false, false],
  ['red,blue', is('bl*'), false, true],
  ['blue,red', is('bl*'), true, true],
  ['true blue,red', is('*ue'), false, true],
  ['blue', is('*'), true, true],
  [',', is('*'), false, true],
  ['', is('*'), false, false],
  [undefined, is('*'), false, false],
  ['red', not('blue'), true, true],
  ['blue', not('blue'), false, false],
  ['blue,red', not('blue'), false, true],
  ['blue,blue', not('blue'), false, true],
  ['Tue, 1 Dec', not('Tue, 1 Dec'), false, false],
  ['blue', not('bl*'), false, false],
  ['blue,red', not('bl*'), false, true],
  ['red,blue', not('bl*'), false, true],
  ['blue, blunt', not('bl*'), false, false],
  ['blue,', not('bl*'), false, false],
  ['red,blue', not('*ue'), false, true],
  ['glue,blue', not('*ue'), false, false],
  ['blue,red', not('*'), false, false],
  [' , ', not('*'), false, true],
  ['', not('*'), false, true],
  [undefined, not('blue'), false, true],
  [' blue', not(' blue'), false, false],
  ['x, blue', is(' blue'), false, false],
] as const

t.test('a term on a header', async (t) => {
  for (const [value, term, allow, deny] of CASES) {
    const title = `${JSON.stringify(value)} ${JSON.stringify(term)}`
    t.equal(headerTermHolds(term, value, ALLOW), allow, `ALLOW ${title}`)
    t.equal(headerTermHolds(term, value, DENY), deny, `DENY ${title}`)
  }
})

t.test('an empty term holds, a template never matches', async (t) => {
  const template = { kind: 'template', segments: [{ kind: 'any' }] } as const
  for (const direction of [ALLOW, DENY] as const) {
    t.ok(headerTermHolds({ is: [], not: [] }, undefined, direction))
    t.notOk(headerTermHolds({ is: [template], not: [] }, 'x,y', direction))
  }
})

t.test('adding a value never takes away a denial', async (t) => {
  const values = ['blue', 'red', 'bl', 'true blue', 'glue']
  const terms = ['blue', 'bl*', '*ue', '*', 'red'].flatMap((p) => [is(p), not(p)])
  const pairs = values.flatMap((a) => values.map((b) => [a, b] as const))
  for (const term of terms) {
    const isDenied = (value: string) => headerTermHolds(term, value, DENY)
    const failed = pairs.filter(
      ([a, b]) =>
        (isDenied(a) || isDenied(b)) && !(isDenied(`${a},${b}`) && isDenied(`${b}, ${a}`)),
    )
    t.same(failed, [], JSON.stringify(term))
  }
})

t.test('a hostile header takes no more than linear time', async (t) => {
  const value = `a${' \t'.repeat(30_000)}b,${','.repeat(30_000)}`
  const start = performance.now()
  t.equal(headerTermHolds(is('x', '*y'), value, DENY), false)
  t.ok(performance.now() - start < 1000)
})
