import t from 'tap'
import type { PolicySet } from '../../../../../common/policy-set.ts'
import {
  type ActiveSet,
  activateSet,
  chooseSet,
  PREVIOUS_SET_MS,
  readsBody,
  type SetState,
  withoutFailingOpen,
} from '../../../../../sidecar/core/policy/active-set.ts'
import { makeRegoPolicy, makeSet } from '../../../../kit/check.ts'

function active(revision: string, reads: boolean): ActiveSet<string> {
  const { policy } = makeRegoPolicy(Buffer.from('x'), { readsBody: reads })
  return { revision, set: makeSet([policy]), programs: revision }
}

const NONE: SetState<string> = {}

function revisionOf(state: SetState<string>, isBodyBuffered: boolean, nowMs: number): string {
  const choice = chooseSet(state, { isBodyBuffered, nowMs })
  return 'missing' in choice ? choice.missing : choice.active.revision
}

t.test('without a set there is nothing to decide by', async (t) => {
  t.equal(revisionOf(NONE, true, 0), 'ERR_NO_BUNDLE')
})

t.test('the newest set answers', async (t) => {
  const state = activateSet(activateSet(NONE, active('a', false), 0), active('b', false), 10)
  t.equal(revisionOf(state, false, 11), 'b')
  t.equal(revisionOf(state, true, 11), 'b')
})

t.test('a set that reads bodies never judges a request without one', async (t) => {
  const state = activateSet(NONE, active('a', true), 0)
  t.equal(revisionOf(state, true, 0), 'a')
  t.equal(revisionOf(state, false, 0), 'ERR_BODY_NOT_BUFFERED')
})

t.test(
  'for one second the set before it answers such a request, if it reads no body',
  async (t) => {
    const state = activateSet(activateSet(NONE, active('a', false), 0), active('b', true), 100)
    t.equal(revisionOf(state, false, 100 + PREVIOUS_SET_MS), 'a')
    t.equal(revisionOf(state, false, 101 + PREVIOUS_SET_MS), 'ERR_BODY_NOT_BUFFERED')
    t.equal(revisionOf(state, true, 101), 'b')
    const both = activateSet(activateSet(NONE, active('a', true), 0), active('b', true), 100)
    t.equal(revisionOf(both, false, 101), 'ERR_BODY_NOT_BUFFERED')
  },
)

t.test('a set reads bodies when one policy may', async (t) => {
  t.equal(readsBody(active('a', true).set), true)
  t.equal(readsBody(active('a', false).set), false)
  t.equal(readsBody(makeSet([])), false)
})

t.test('only the policies that are named fail closed', async (t) => {
  const { policy } = makeRegoPolicy(Buffer.from('x'), { onError: 'Allow' })
  const other = makeRegoPolicy(Buffer.from('x'), { onError: 'Allow', name: 'other' }).policy
  const set: PolicySet = withoutFailingOpen(makeSet([policy, other]), (id) => id !== 'shop/other')
  t.same(
    set.policies.map((p) => p.onError),
    ['Deny', 'Allow'],
  )
})
