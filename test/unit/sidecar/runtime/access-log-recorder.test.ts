/** What can't be written is counted one by one, and said as often as a person can read it. */
import { fromJson } from '@bufbuild/protobuf'
import t from 'tap'
import { LogLimit } from '../../../../common/log-limit.ts'
import { HTTPAccessLogEntrySchema } from '../../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import type { AccessLogEntry } from '../../../../sidecar/core/decision-log/access-log.ts'
import { createAccessLogRecorder } from '../../../../sidecar/runtime/access-log-recorder.ts'
import { makePolicy, makeSet } from '../../../kit/check.ts'

const RULE = { id: 'shop/web/rules[0]', from: [], to: [], when: [] }
const SAID = {
  enf_enforced_engine_result: 'allowed',
  enf_enforced_effective_policy_id: RULE.id,
}

function entry(id: string): AccessLogEntry {
  return {
    logName: 'postern',
    protocol: 'http',
    entry: fromJson(HTTPAccessLogEntrySchema, {
      commonProperties: {
        startTime: '2026-11-24T08:00:00Z',
        metadata: { filterMetadata: { 'envoy.filters.http.rbac': SAID } },
      },
      request: { requestMethod: 'GET', path: '/', requestHeaders: { 'x-postern-decision-id': id } },
      response: { responseCode: 200 },
    }),
  }
}

t.test(
  'a full decision log: each decision counts as lost, ten lines a minute say so',
  async (t) => {
    let nowMs = 0
    let counted = 0
    const lines: object[] = []
    const recorder = createAccessLogRecorder({
      worker: {
        activeSet: () => makeSet([makePolicy({ name: 'web', rules: [RULE] })]),
        activeRevision: () => 'r1',
        wasRecorded: () => false,
        whyNoAnswer: () => undefined,
      },
      decisionLog: { append: () => false },
      labels: { id: 'i', version: 'v', workload: 'web', namespace: 'shop' },
      tally: {
        count: () => {
          counted += 1
        },
      },
      newId: () => 'new',
      limit: new LogLimit({ nowMs: () => nowMs }),
      log: { debug() {}, info() {}, warn() {}, error: (fields) => lines.push(fields) },
    })
    for (let i = 0; i < 500; i++) recorder.record(entry(`id-${i}`))
    t.equal(recorder.lost(), 500)
    t.equal(counted, 500, 'decided they were')
    t.equal(lines.length, 10)
    t.same(lines[0], { code: 'ERR_DECISION_LOG', lost: 1, leftOut: 0 }, 'without a stack')
    nowMs = 60_000
    recorder.record(entry('id-last'))
    t.same(lines[10], { code: 'ERR_DECISION_LOG', lost: 501, leftOut: 490 })
  },
)
