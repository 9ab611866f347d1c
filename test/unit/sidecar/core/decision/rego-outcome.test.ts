import t from 'tap'
import { toRegoOutcome } from '../../../../../sidecar/core/decision/rego-outcome.ts'

const ALLOW = { action: 'ALLOW', onError: 'Deny' } as const
const DENY = { action: 'DENY', onError: 'Deny' } as const

t.test('booleans, objects and undefined are results', async (t) => {
  t.same(toRegoOutcome(true, ALLOW), { kind: 'result', allowed: true })
  t.same(toRegoOutcome(false, ALLOW), { kind: 'result', allowed: false })
  t.same(toRegoOutcome(undefined, ALLOW), { kind: 'undefined' })
  const object = { allowed: true, headers: { a: 'b' } }
  t.same(toRegoOutcome(object, ALLOW), { kind: 'result', allowed: true, object })
})

for (const value of [
  null,
  1,
  0,
  '',
  'true',
  [],
  [true],
  {},
  { allowed: 'true' },
  { allowed: 1 },
  { allow: true },
])
  t.test(`${JSON.stringify(value)} is an error, never an allow`, async (t) => {
    t.match(toRegoOutcome(value, ALLOW), { kind: 'error', code: 'ERR_POLICY_RESULT' })
  })

t.test('an `allowed` that is only inherited does not count', async (t) => {
  t.match(toRegoOutcome(Object.create({ allowed: true }), ALLOW), { kind: 'error' })
})

t.test('what matters is checked: mutations of an allow, the reply of a denial', async (t) => {
  const bad = { headers: { host: 'evil' } }
  t.match(toRegoOutcome({ allowed: true, ...bad }, ALLOW), {
    kind: 'error',
    code: 'ERR_POLICY_RESULT',
  })
  t.match(toRegoOutcome({ allowed: false, ...bad }, ALLOW), { kind: 'error' })
  t.match(toRegoOutcome({ allowed: true, http_status: 200 }, ALLOW), { kind: 'result' })
  t.match(toRegoOutcome({ allowed: false, http_status: 200 }, ALLOW), { kind: 'error' })
  t.match(toRegoOutcome({ allowed: true, http_status: 200 }, DENY), { kind: 'error' })
  t.match(toRegoOutcome({ allowed: false, http_status: 200 }, DENY), { kind: 'result' })
})

t.test('with onError: Allow, a refusal with a bad decoration is still a refusal', async (t) => {
  const open = { onError: 'Allow' } as const
  t.same(toRegoOutcome({ allowed: false, http_status: 200 }, { action: 'ALLOW', ...open }), {
    kind: 'result',
    allowed: false,
  })
  t.same(toRegoOutcome({ allowed: true, http_status: 200 }, { action: 'DENY', ...open }), {
    kind: 'result',
    allowed: true,
  })
})
