import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import t from 'tap'
import { MeshError } from '../../../../../common/errors.ts'
import type { Policy } from '../../../../../common/policy-set.ts'
import { CheckRequestSchema } from '../../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toRequestAttributes } from '../../../../../sidecar/core/input/attributes.ts'
import { RegoCall } from '../../../../../sidecar/core/policy/rego-call.ts'
import { makeAttributes, makePolicy, makeRegoPolicy, makeSet } from '../../../../kit/check.ts'

const rego = (name: string, over: Partial<Policy> = {}) =>
  makeRegoPolicy(Buffer.from(name), { name, ...over }).policy

function decide(
  policies: readonly Policy[],
  http: Record<string, JsonValue>,
  evaluate: (p: Policy, json: string) => unknown,
) {
  const request = fromJson(CheckRequestSchema, { attributes: makeAttributes(http) })
  const call = new RegoCall(request, { evaluate })
  return { call, decision: call.decide(makeSet(policies), toRequestAttributes(request)) }
}

t.test('the input is built once, and only when a policy asks', async (t) => {
  const inputs: string[] = []
  const evaluate = (_p: Policy, json: string) => {
    inputs.push(json)
    return true
  }
  const { call, decision } = decide([rego('a'), rego('b')], { path: '/x' }, evaluate)
  t.equal(decision.allowed, true)
  t.equal(inputs.length, 2)
  t.match(inputs[0], '"parsed_path":["x"]')
  t.same(JSON.parse(inputs[1] ?? ''), JSON.parse(JSON.stringify(call.input)))
  const none = decide([makePolicy({ rules: [] })], { path: '/x' }, () => t.fail('not asked'))
  t.equal(none.call.input, undefined)
})

t.test('what a policy throws is an error outcome with its code', async (t) => {
  const thrown: readonly [unknown, string][] = [
    [new Error('conflict'), 'ERR_POLICY_ERROR'],
    ['a text', 'ERR_POLICY_ERROR'],
    [new MeshError('ERR_POLICY_TIMEOUT', 'slow'), 'ERR_POLICY_TIMEOUT'],
  ]
  for (const [error, code] of thrown) {
    const { decision } = decide([rego('a')], {}, () => {
      throw error
    })
    t.match(decision, { allowed: false, reason: code, error: { code } })
  }
})

t.test('an unreadable request is an error for each policy, and never fails open', async (t) => {
  for (const onError of ['Deny', 'Allow'] as const) {
    const { call, decision } = decide([rego('a', { onError })], { path: '/%zz' }, () =>
      t.fail('asked'),
    )
    t.match(decision, { allowed: false, error: { code: 'ERR_INPUT_INVALID' } })
    t.equal(call.input, undefined)
  }
  const policies = [
    rego('a', { action: 'DENY', onError: 'Allow' }),
    makePolicy({ name: 'open', rules: [{ id: 'r', from: [], to: [], when: [] }] }),
  ]
  const { decision } = decide(policies, { path: '/?a=%zz' }, () => true)
  t.match(decision, { allowed: false, policy: 'shop/a' })
})

t.test('a policy that fails by itself is let pass where it says so', async (t) => {
  const { decision } = decide([rego('a', { onError: 'Allow' })], { path: '/x' }, () => 7)
  t.match(decision, { allowed: true, failedOpen: ['shop/a'] })
})

t.test('a policy that is set aside never fails open; one that fails beside it may', async (t) => {
  const slow = () => {
    throw new MeshError('ERR_POLICY_TIMEOUT', 'set aside')
  }
  const { decision } = decide([rego('a', { onError: 'Allow' })], { path: '/x' }, slow)
  t.match(decision, { allowed: false, policy: 'shop/a', reason: 'ERR_POLICY_TIMEOUT' })
  const denies = [rego('a', { action: 'DENY', onError: 'Allow' }), rego('b', { onError: 'Allow' })]
  const asked: string[] = []
  const both = decide(denies, { path: '/x' }, (policy) => {
    asked.push(policy.name)
    return policy.name === 'a' ? slow() : 7
  })
  t.match(both.decision, { allowed: false, policy: 'shop/a', reason: 'ERR_POLICY_TIMEOUT' })
  t.same(asked, ['a', 'b'], 'each is asked once')
  const only = decide(denies, { path: '/x' }, (policy) => (policy.name === 'a' ? false : 7))
  t.match(only.decision, { allowed: true, failedOpen: ['shop/b'] })
})
