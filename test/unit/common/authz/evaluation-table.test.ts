/** Every row of the truth table in docs/reference/evaluation.md is what `decide` answers. */
import t from 'tap'
import { decide } from '../../../../common/authz/combine.ts'
import { policyId } from '../../../../common/policy-set.ts'
import { readEvaluationTable, TABLE_REQUEST } from '../../../kit/evaluation-table.ts'

const rows = readEvaluationTable()
t.ok(rows.length > 50, `${rows.length} rows`)
for (const row of rows) {
  const asked: string[] = []
  const { allowed, policy, reason, shadow, audit, failedOpen } = decide(
    row.set,
    TABLE_REQUEST,
    (policy) => {
      asked.push(policyId(policy))
      const outcome = row.rego.get(policyId(policy))
      if (outcome === undefined) throw new Error('a policy without Rego was asked')
      return outcome
    },
  )
  t.same({ allowed, policy, reason, shadow, audit, failedOpen }, row.want, row.title)
  t.equal(new Set(asked).size, asked.length, 'no policy is asked twice')
}
