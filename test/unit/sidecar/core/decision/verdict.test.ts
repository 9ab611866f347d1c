import t from 'tap'
import type { AuthzDecision, RegoOutcome } from '../../../../../common/authz/combine.ts'
import { MeshError } from '../../../../../common/errors.ts'
import {
  refuseByGuard,
  refuseFor,
  toVerdict,
} from '../../../../../sidecar/core/decision/verdict.ts'
import { makeRegoPolicy, makeSet } from '../../../../kit/check.ts'

const SET = makeSet([makeRegoPolicy(Buffer.from('x'), { name: 'p', entrypoint: 'a/b' }).policy])

function decision(
  outcome: RegoOutcome | undefined,
  over: Partial<AuthzDecision> = {},
): AuthzDecision {
  return {
    allowed: true,
    policy: 'shop/p',
    reason: 'matched',
    shadow: ['shop/s'],
    audit: ['shop/a'],
    matchedAllow: ['shop/p'],
    failedOpen: [],
    outcomes: new Map(outcome === undefined ? [] : [['shop/p', outcome]]),
    ...over,
  }
}

t.test('the verdict says what the deciding policy said, and by which entrypoint', async (t) => {
  const object = { allowed: true, headers: { a: 'b' } }
  const verdict = toVerdict(SET, decision({ kind: 'result', allowed: true, object }))
  t.match(verdict, {
    allowed: true,
    policy: 'shop/p',
    path: 'a/b',
    result: object,
    shadow: ['shop/s', 'shop/a'],
    mutation: { headers: [['a', 'b']] },
  })
  t.equal(toVerdict(SET, decision({ kind: 'result', allowed: true })).result, true)
})

t.test('rules that decide alone have no entrypoint', async (t) => {
  const verdict = toVerdict(SET, decision(undefined, { rule: 'shop/p/rules[0]' }))
  t.match(verdict, { rule: 'shop/p/rules[0]', result: true, path: undefined })
})

t.test('the denying policy gives the reply, unless something failed', async (t) => {
  const object = { allowed: false, http_status: 418 + 11, body: 'slow down' }
  const outcome: RegoOutcome = { kind: 'result', allowed: false, object }
  const denied = { allowed: false, denial: 'shop/p', matchedAllow: [] }
  t.match(toVerdict(SET, decision(outcome, denied)), { denial: { status: 429, body: 'slow down' } })
  const error = { code: 'ERR_POLICY_ERROR', message: 'm' }
  t.match(toVerdict(SET, decision(outcome, { ...denied, error })), {
    denial: { status: 503, body: 'ERR_POLICY_ERROR' },
  })
  t.match(toVerdict(SET, decision({ kind: 'undefined' }, denied)), {
    denial: { status: 403, body: '' },
  })
})

t.test('whatever is thrown is a refusal with a code', async (t) => {
  t.match(refuseFor(new MeshError('ERR_NO_BUNDLE', 'm')), {
    allowed: false,
    reason: 'ERR_NO_BUNDLE',
  })
  t.match(refuseFor(new TypeError('x')), {
    allowed: false,
    reason: 'ERR_INTERNAL',
    error: { message: 'x' },
  })
  t.match(refuseFor('text'), { allowed: false, denial: { status: 503 } })
})

t.test('a guard refuses by its name', async (t) => {
  t.match(refuseByGuard('guard/path'), {
    allowed: false,
    policy: 'guard/path',
    denial: { status: 400 },
  })
  t.match(refuseByGuard('guard/san'), {
    allowed: false,
    policy: 'guard/san',
    denial: { status: 403 },
  })
})

t.test('an allow whose mutations contradict each other is a refusal', async (t) => {
  const says = (value: string): RegoOutcome => ({
    kind: 'result',
    allowed: true,
    object: { allowed: true, headers: { a: value } },
  })
  const outcomes = new Map([
    ['shop/p', says('1')],
    ['shop/q', says('2')],
  ])
  const verdict = toVerdict(
    SET,
    decision(undefined, { outcomes, matchedAllow: ['shop/p', 'shop/q'] }),
  )
  t.match(verdict, { allowed: false, reason: 'ERR_POLICY_RESULT', denial: { status: 503 } })
})
