/** What of a status is written, and what a user is told. */
import t from 'tap'
import type { Condition } from '../../../../../controller/core/crd/index.ts'
import {
  newRefusal,
  planStatus,
  type StatusValue,
} from '../../../../../controller/core/status/status-write.ts'

const [EARLY, LATE] = ['2026-11-24T08:00:00Z', '2026-11-24T09:00:00Z'] as const

function condition(status: Condition['status'], message = 'm', at: string = LATE): Condition {
  return { type: 'Accepted', status, reason: 'R', message, lastTransitionTime: at }
}

const of = (...conditions: readonly Condition[]): StatusValue => ({
  observedGeneration: 1,
  conditions,
})

t.test('only what differs is written', async (t) => {
  const there = of(condition('True', 'm', EARLY))
  t.equal(planStatus(of(condition('True')), there), undefined, 'another time is no news')
  const turned = { conditions: there.conditions ?? [], observedGeneration: 1 }
  t.equal(planStatus(of(condition('True')), turned), undefined, 'nor is the order of fields')
  t.same(planStatus(of(condition('True', 'n')), there), of(condition('True', 'n', EARLY)))
  t.same(planStatus(of(condition('False')), there), of(condition('False')), 'turned: a new time')
  t.same(planStatus(of(condition('True')), undefined), of(condition('True')))
  t.same(planStatus(of(condition('True')), {}), of(condition('True')))
  t.match(planStatus({ ...of(condition('True')), observedGeneration: 2 }, there), {
    observedGeneration: 2,
    conditions: [{ lastTransitionTime: EARLY }],
  })
})

t.test('a refusal is told once for each reason', async (t) => {
  const no = condition('False')
  t.equal(newRefusal(of(no), undefined), no)
  t.equal(newRefusal(of(no), of(condition('True'))), no)
  t.equal(newRefusal(of(no), of(condition('False', 'm', EARLY))), undefined)
  t.equal(newRefusal(of(no), of(condition('False', 'other'))), no)
  t.equal(newRefusal(of(condition('True')), of(no)), undefined)
  t.equal(newRefusal({}, undefined), undefined)
})
