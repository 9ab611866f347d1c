/** What the golden files don't show of the Rego: its name, templates in odd places, and that it is the same each time. */
import t from 'tap'
import { toRego } from '../../../../../controller/core/lanes/to-rego.ts'
import { seededRandom } from '../../../../kit/differential/random.ts'
import { randomSet } from '../../../../kit/differential/random-set.ts'
import { makePolicy, makeSet, not, operation } from '../../../../kit/policies.ts'

t.test('equal sets are equal text', async (t) => {
  const build = () => toRego(randomSet(seededRandom(5), { ports: [80] }))
  t.equal(build(), build())
  t.match(build(), /^package postern\.rules$/m)
})

t.test('what is negated stands in a rule of its own', async (t) => {
  // Inside `not`, an undefined argument would undefine the body: a DENY of all paths but one would miss a request.
  for (let seed = 0; seed < 200; seed++) {
    const text = toRego(randomSet(seededRandom(seed), { ports: [80] }), { package: 'p' })
    const negations = text.split('\n').filter((line) => /^(is_|policy_).*\bnot /.test(line))
    for (const [, operand = ''] of negations.flatMap((l) => [...l.matchAll(/\bnot ([^;}]*)/g)])) {
      if (!/^(is_\d+|port in \{)/.test(operand)) t.fail(operand)
    }
  }
})

t.test('a template that can match nothing is false', async (t) => {
  const build = (...segments: { kind: 'any' | 'one' }[]) =>
    toRego(
      makeSet([
        makePolicy({
          rules: [
            { to: [operation({ paths: { is: [{ kind: 'template', segments }], not: [] } })] },
          ],
        }),
      ]),
    )
  t.match(build(), /^policy_0 contains .* if \{ false \}$/m)
  t.match(build({ kind: 'any' }, { kind: 'one' }), /if \{ false \}$/m)
})

t.test('on TCP an HTTP field never matches in an ALLOW and is dropped in a DENY', async (t) => {
  const rules = [{ to: [operation({ paths: not('/a') })] }]
  const set = makeSet([makePolicy({ rules }), makePolicy({ name: 'd', action: 'DENY', rules })])
  const text = toRego(set, { protocol: 'tcp' })
  t.match(text, /^# ALLOW .*\npolicy_\d contains .* if \{ false \}$/m)
  t.match(text, /^# DENY .*\npolicy_\d contains .* if \{ true \}$/m)
  t.notMatch(text, /guard\/path/)
})

t.test('a byte order mark within a text is escaped: opa takes none raw', async (t) => {
  const rules = [
    { to: [operation({ paths: { is: [{ kind: 'exact', value: '/\ufeff' }], not: [] } })] },
  ]
  const text = toRego(makeSet([makePolicy({ rules })]))
  t.notMatch(text, /\ufeff/)
  t.match(text, /\/\\ufeff/)
})
