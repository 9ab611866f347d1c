import t from 'tap'
import { matchPolicyRules } from '../../../../../common/authz/evaluate.ts'
import type { PolicyAction, PolicySet, Rule } from '../../../../../common/policy-set.ts'
import { coversRule, coversText } from '../../../../../controller/core/analyze/cover.ts'
import { type Random, seededRandom } from '../../../../kit/differential/random.ts'
import { randomRequest } from '../../../../kit/differential/random-request.ts'
import { randomSet } from '../../../../kit/differential/random-set.ts'
import { makePolicy, pattern } from '../../../../kit/policies.ts'

const PRINCIPALS = ['td/ns/a/sa/one', 'td/ns/b/sa/one', 'far/ns/a/sa/one'].map(
  (p) => `spiffe://${p}`,
)

function attributes(random: Random) {
  const { method, path, host, headers } = randomRequest(random)
  return {
    protocol: 'http' as const,
    principal: random.chance(0.2) ? undefined : random.pick(PRINCIPALS),
    sourceAddress: random.pick(['127.0.0.1', '10.1.1.1', '2001:db8::1']),
    destinationPort: 80,
    ...{ method, path, host },
    headers: Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])),
  }
}

const matches = (
  rule: Rule,
  action: PolicyAction,
  request: ReturnType<typeof attributes>,
  set: PolicySet,
) => matchPolicyRules({ ...makePolicy({ action }), rules: [rule] }, request, set).matched

t.test('what is covered is matched by the wider one too, whatever is asked', async (t) => {
  const random = seededRandom(41)
  const requests = Array.from({ length: 60 }, () => attributes(random))
  const wrong: unknown[] = []
  let covered = 0
  for (let i = 0; i < 150; i++) {
    const set = randomSet(random, { ports: [80] })
    const rules = set.policies.flatMap((p) => p.rules ?? [])
    // A rule that lost a part is wider than the whole one.
    const wider = rules.flatMap((r) => [
      { ...r, when: [] },
      { ...r, from: [] },
      { ...r, to: r.to.slice(0, 1), from: [] },
    ])
    for (const narrow of rules) {
      for (const wide of [...rules, ...wider].filter((w) => coversRule(w, narrow))) {
        covered += 1
        const broken = requests.filter(
          (request) =>
            (['ALLOW', 'DENY'] as const).some(
              (action) =>
                matches(narrow, action, request, set) && !matches(wide, action, request, set),
            ) ||
            (matches(narrow, 'ALLOW', request, set) && !matches(wide, 'DENY', request, set)),
        )
        if (broken.length > 0) wrong.push({ wide, narrow, request: broken[0] })
      }
    }
  }
  t.same(wrong.slice(0, 1), [])
  t.ok(covered > 1000, `${covered} pairs`)
})

t.test('texts', async (t) => {
  const covers = (wide: string, narrow: string) => coversText(pattern(wide), pattern(narrow))
  for (const [wide, narrow] of [
    ['/a*', '/a/b'],
    ['/a*', '/ab*'],
    ['*.css', '*x.css'],
    ['*', '/a'],
  ] as const) {
    t.ok(covers(wide, narrow), `${wide} ${narrow}`)
  }
  for (const [wide, narrow] of [
    ['/a/*', '/a'],
    ['/ab*', '/a*'],
    ['/a*', '*a'],
    ['/a', '*'],
  ] as const) {
    t.notOk(covers(wide, narrow), `${wide} ${narrow}`)
  }
})
