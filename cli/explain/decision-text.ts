/** A decision as text: who, whom, what, by whose word; then each policy of the set that decided, with its reason. */
import type { PolicyTrace } from '../../common/authz/trace.ts'
import type { DecisionRecord } from '../../common/decision.ts'
import type { SourceLocation } from '../../common/errors.ts'
import { formatTable } from '../output/table.ts'
import { headersOf } from './decision-facts.ts'
import { formatPolicies, placeText, reasonText } from './format.ts'

export interface ExplainedDecision {
  readonly record: DecisionRecord
  /** Of the set that decided; absent: it is not to be had any more. */
  readonly policies?: readonly PolicyTrace[]
  readonly generation?: string
  readonly locations: Readonly<Record<string, SourceLocation>>
}

const LANES = { rbac: 'RBAC, in Envoy', wasm: 'WASM, in the sidecar' } as const

export function formatDecision(explained: ExplainedDecision): string {
  const { record, policies, locations } = explained
  const head = formatTable(rowsOf(explained))
  if (policies === undefined) {
    return `${head}\nThe policy set that decided is not to be had here, so the other policies are not shown.\n`
  }
  const why = formatPolicies(policies, locations, {
    knowsHeaders: headersOf(record) !== undefined,
    isPast: true,
    isBeyondDeny: isBeyondDeny(record, policies),
  })
  return `${head}\n${why}`
}

/** DENY policies come first: who decided after them saw none of them match. */
function isBeyondDeny({ postern }: DecisionRecord, policies: readonly PolicyTrace[]): boolean {
  if (postern.policy === '' || postern.policy.startsWith('guard/')) return false
  return policies.find((p) => p.decides)?.action !== 'DENY'
}

function rowsOf({ record, generation, locations }: ExplainedDecision): [string, string][] {
  const { postern, labels, bundles, error, timestamp } = record
  const at = locations[postern.rule ?? postern.policy] ?? locations[postern.policy]
  const place = at === undefined ? '' : ` (${placeText(at)})`
  const by = postern.policy === '' ? 'no policy' : `${postern.rule ?? postern.policy}${place}`
  const rows: [string, string | undefined][] = [
    ['Decision:', record.decision_id],
    ['Time:', timestamp],
    ['Answer:', `${postern.allowed ? 'ALLOWED' : 'DENIED'} ${postern.httpStatus ?? ''}`.trimEnd()],
    ['Caller:', `${postern.source ?? 'nobody (no identity)'} at ${record.requested_by}`],
    ['Callee:', `${labels.namespace}/${labels.workload}`],
    ['Request:', requestText(record)],
    ['Decided by:', `${by}: ${reasonText(postern.policy, postern.reason)}`],
    ['Error:', error === undefined ? undefined : `${error.message} [${error.code}]`],
    ['Lane:', LANES[postern.lane]],
    ['Bundle:', bundles.postern?.revision ?? 'none'],
    ['Generation:', generation],
    ['Recorded:', postern.shadow?.join(', ')],
    ['Failed open:', postern.failedOpen?.join(', ')],
    ['Trace:', record.trace_id],
  ]
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
}

function requestText({ postern }: DecisionRecord): string {
  const { method, path, host } = postern
  return path === undefined ? 'a TCP connection' : `${method ?? '?'} ${path}, host ${host ?? '?'}`
}
