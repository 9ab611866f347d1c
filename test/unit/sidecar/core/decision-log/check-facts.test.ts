import { fromJson } from '@bufbuild/protobuf'
import t from 'tap'
import { CheckRequestSchema } from '../../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { NO_MUTATION } from '../../../../../sidecar/core/decision/merge.ts'
import { refuse } from '../../../../../sidecar/core/decision/verdict.ts'
import { toCheckFacts } from '../../../../../sidecar/core/decision-log/check-facts.ts'
import { makeAttributes } from '../../../../kit/check.ts'

const request = fromJson(CheckRequestSchema, { attributes: makeAttributes({ path: '/x' }) })
const times = { startNs: 5n, endNs: 12n }
const summary = { decisionId: 'id', requestedBy: '' }

t.test('a refusal without an input shows the attributes', async (t) => {
  const judgement = { verdict: refuse('ERR_NO_BUNDLE', 'm') }
  const facts = toCheckFacts({ judgement, request, summary, ...times })
  t.match(facts, {
    lane: 'wasm',
    timeNs: 5n,
    metrics: { timer_server_handler_ns: 7 },
    input: { attributes: { request: { http: { path: '/x' } } } },
    verdict: { httpStatus: 503 },
  })
  t.notOk('revision' in facts)
})

t.test('an allow shows what Rego saw', async (t) => {
  const { denial: _, ...base } = refuse('ERR_NO_BUNDLE', 'm') as ReturnType<typeof refuse> & {
    denial: unknown
  }
  const verdict = { ...base, allowed: true as const, mutation: NO_MUTATION }
  const judgement = { verdict, revision: 'r', input: { parsed_path: ['x'] } }
  const facts = toCheckFacts({ judgement, request, summary, ...times })
  t.match(facts, { revision: 'r', input: { parsed_path: ['x'] }, verdict: { httpStatus: 200 } })
})
