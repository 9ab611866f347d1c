/**
 * Three readers of the same rules (DESIGN §1, promise 5): the tree in a real Envoy, the evaluator, and the Rego that the
 * rules compile to in a real OPA. Random policy sets, random raw requests; `make proof` runs many more of them.
 * POSTERN_DIFF_PAIRS: how many requests. POSTERN_DIFF_SEED: another run of them.
 */
import t, { type Test } from 'tap'
import { decide } from '../../common/authz/combine.ts'
import { type Policy, policyId } from '../../common/policy-set.ts'
import type { CheckRequest } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { buildBed } from '../kit/differential/bed.ts'
import { makeCertificates } from '../kit/differential/certificates.ts'
import { headersOf, startObserver, toAttributes } from '../kit/differential/observer.ts'
import {
  compareHttp,
  compareTcp,
  type DifferentialReport,
  SANS,
  startBed,
} from '../kit/differential/run.ts'
import { http1Sender } from '../kit/differential/senders.ts'
import { readEvaluationTable } from '../kit/evaluation-table.ts'
import { freePorts } from '../kit/ports.ts'

const REQUESTS = Number(process.env.POSTERN_DIFF_PAIRS ?? 8000)
const SEED = Number(process.env.POSTERN_DIFF_SEED ?? 1)
const SHOWN = 5

function check(t: Test, report: DifferentialReport): void {
  for (const difference of report.differences.slice(0, SHOWN)) t.comment(JSON.stringify(difference))
  for (const [what, n] of report.tally) t.comment(`${n} × ${what}`)
  t.equal(report.differences.length, 0, `no difference in ${report.judged} pairs, seed ${SEED}`)
}

t.test('HTTP: Envoy, the evaluator and OPA give the same answers', async (t) => {
  const report = await compareHttp(t, { requests: REQUESTS, seed: SEED })
  check(t, report)
  for (const kind of ['rbac 200', 'mixed 200', 'rbac 403', 'mixed 403']) {
    t.ok(
      [...report.tally.keys()].some((k) => k.startsWith(kind)),
      `some were ${kind}`,
    )
  }
})

t.test('TCP: Envoy, the evaluator and OPA give the same answers', async (t) => {
  const report = await compareTcp(t, SEED)
  check(t, report)
  t.ok(report.allowed > 0 && report.allowed < report.judged, 'some were let in, some refused')
})

t.test('the truth table of docs/reference/evaluation.md, through Envoy', async (t) => {
  const rows = readEvaluationTable()
  const rowOf = (check: CheckRequest) => rows[Number(headersOf(check)['x-set'])]
  const observer = await startObserver((check) => {
    const row = rowOf(check)
    if (row === undefined) return false
    const rego = (policy: Policy) => {
      const said = row.rego.get(policyId(policy))
      if (said === undefined) throw new Error(`${policyId(policy)} has no Rego`)
      return said
    }
    return decide(row.set, toAttributes(check), rego).allowed
  })
  t.teardown(() => observer.stop())
  const [tls = 0, plaintext = 0] = await freePorts(2)
  const { ca, pairs } = makeCertificates(SANS)
  const options = { ports: { tls, plaintext }, observerPort: observer.port, ca }
  const sets = rows.map((row) => row.set)
  await startBed(t, buildBed({ sets, server: pairs.server, ...options }), plaintext)
  const send = http1Sender(t, { tls, plaintext, pairs })
  for (const [i, row] of rows.entries()) {
    for (const peer of ['plaintext', 'one'] as const) {
      const request = { peer, sourceAddress: '127.0.0.1', method: 'GET', path: '/match' } as const
      const { status } = await send({ ...request, host: 'h', headers: [] }, i, `${peer}-${i}`)
      t.equal(status, row.want.allowed ? 200 : 403, `${peer}: ${row.title}`)
    }
  }
})
