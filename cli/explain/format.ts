/** Explanations as text: the answer first, then the order in which policies are asked, each with its first reason. */
import type { Miss, PolicyTrace, RuleTrace } from '../../common/authz/trace.ts'
import type { SourceLocation } from '../../common/errors.ts'
import { toPrintableLine } from '../output/printable.ts'
import { formatTable } from '../output/table.ts'
import type { Explanation } from './explain.ts'

type Locations = Readonly<Record<string, SourceLocation>>

const LANES = {
  connection: 'the connection itself: no policy is asked, nothing is recorded',
  http: 'Envoy, before any policy: nothing is recorded',
  rbac: 'RBAC, in Envoy',
  wasm: 'WASM, in the sidecar',
} as const
/** Values of a long list, and alternatives of a rule, that are shown. */
const SHOWN = 3
const SHORT = 8

export function formatExplanation(e: Explanation, locations: Locations): string {
  const version = `generation ${e.generation.slice(0, SHORT)}, bundle ${e.revision.slice(0, SHORT)}`
  const head: [string, string][] = [
    ['Answer:', answerText(e)],
    ['Decided by:', deciderText(e, locations)],
    ['Lane:', LANES[e.decidedIn]],
    ['Version:', `${version}: ${e.roles.join(' and ')}`],
    ...seenRows(e),
    ...e.notes.map((note): [string, string] => ['Note:', note]),
    ...listRow('Recorded:', e.shadow, 'AUDIT or Shadow, would have matched'),
    ...listRow('Failed open:', e.failedOpen, 'failed, and let it pass by onError: Allow'),
  ]
  return `${formatTable(head)}${e.seen === undefined ? '' : `\n${formatOrder(e, locations)}`}`
}

function answerText({ allowed, httpStatus, reason, decidedIn, error }: Explanation): string {
  const status = httpStatus === undefined || allowed ? '' : ` ${httpStatus}`
  const why = decidedIn === 'connection' || decidedIn === 'http' ? `: ${reason}` : ''
  return `${allowed ? 'ALLOWED' : 'DENIED'}${status}${why}${error === undefined ? '' : `: ${error.message} [${error.code}]`}`
}

function deciderText(e: Explanation, locations: Locations): string {
  const { policy, rule, reason } = e
  if (policy === '') return '-'
  const at = locations[rule ?? policy] ?? locations[policy]
  return `${rule ?? policy}${at === undefined ? '' : ` (${placeText(at)})`}: ${reasonText(policy, reason)}`
}

/** The record's word for why, as a clause. */
export function reasonText(policy: string, reason: string): string {
  if (policy === 'default' && reason === 'not-matched') return 'no ALLOW policy matches'
  const words: Readonly<Record<string, string>> = {
    matched: 'it matches',
    'not-matched': 'it had to match',
    'default-deny': 'no ALLOW policy is on the workload, and the default denies',
    'default-allow': 'no ALLOW policy is on the workload, and the default allows',
  }
  return words[reason] ?? reason
}

export function placeText({ file, line }: SourceLocation): string {
  return line === undefined ? file : `${file}:${line}`
}

function seenRows({ seen }: Explanation): [string, string][] {
  if (seen === undefined) return []
  const { transport, principal, sourceAddress, port, method, path, host } = seen
  const who = principal ?? 'nobody (no identity)'
  const what = method === '' ? 'TCP' : `${method} ${path}, host ${host},`
  return [
    ['Policies see:', `${what} port ${port} over ${transport}, from ${who} at ${sourceAddress}`],
  ]
}

function listRow(title: string, ids: readonly string[], what: string): [string, string][] {
  return ids.length === 0 ? [] : [[title, `${ids.join(', ')} (${what})`]]
}

/** Guards, then policies in the order in which they are asked, then the default. */
function formatOrder(e: Explanation, locations: Locations): string {
  const rows = [
    ['guards', '', e.guard === undefined ? 'pass' : 'refuse', e.guard ?? ''],
    ...e.policies.flatMap((p) => policyRows(p, locations, NOW)),
    ['default', e.defaultAction, e.policy === 'default' ? 'decides' : 'not reached', ''],
  ]
  return formatTable([HEADING, ...rows])
}

/** The policies of a set alone. */
export function formatPolicies(
  policies: readonly PolicyTrace[],
  locations: Locations,
  knowing: Knowing,
): string {
  return formatTable([HEADING, ...policies.flatMap((p) => policyRows(p, locations, knowing))])
}

/** What is known of the request. */
export interface Knowing {
  readonly knowsHeaders: boolean
  /** Only what the deciding policy's Rego said is known. */
  readonly isPast: boolean
  /** The decision was made after all enforced DENY policies: none of them matched, whatever is not known of it. */
  readonly isBeyondDeny: boolean
}

const NOW: Knowing = { knowsHeaders: true, isPast: false, isBeyondDeny: false }
const HEADING = ['ORDER', 'POLICY', 'VERDICT', 'WHY']

function policyRows(trace: PolicyTrace, locations: Locations, knowing: Knowing): string[][] {
  const at = locations[trace.policy]
  const flags = [
    ...(trace.mode === 'Shadow' ? ['Shadow'] : []),
    ...(trace.required ? ['required'] : []),
  ]
  const kind = [...flags, trace.action].join(' ')
  const name = `${trace.policy}${at === undefined ? '' : ` (${placeText(at)})`}`
  const [first = '', ...more] = reasonsOf(trace, knowing)
  return [[kind, name, verdictText(trace, knowing), first], ...more.map((why) => ['', '', '', why])]
}

function verdictText(trace: PolicyTrace, knowing: Knowing): string {
  const isRuledOut = knowing.isBeyondDeny && trace.action === 'DENY' && trace.mode === 'Enforce'
  if (isRuledOut) return 'no match'
  const isUnsure = !knowing.knowsHeaders && !trace.decides && dependsOnHeaders(trace)
  const isUnasked = knowing.isPast && trace.verdict === 'not asked'
  const verdict = isUnsure || isUnasked ? 'not recorded' : trace.verdict
  return `${verdict}${trace.decides ? ', decides' : ''}`
}

const HEADER = 'request.headers['

/** Whether it is a header, which is not known, that kept each rule from matching, or one of them. */
function dependsOnHeaders({ rules = [] }: PolicyTrace): boolean {
  const isMatched = rules.some((r) => r.matched)
  return !isMatched && rules.some((r) => r.misses.some((m) => m.field.includes(HEADER)))
}

function reasonsOf(trace: PolicyTrace, knowing: Knowing): readonly string[] {
  const { rules, rego } = trace
  if (rules === undefined && rego === undefined && trace.verdict === 'no match') {
    return ['it has no rules: it matches nothing']
  }
  const matched = (rules ?? []).find((r) => r.matched)
  const ofRules =
    matched === undefined
      ? (rules ?? []).flatMap((rule) => missText(rule, knowing))
      : [`${indexOf(matched)} matches`]
  return [...ofRules, ...regoText(trace, knowing)]
}

function regoText({ rego, verdict }: PolicyTrace, { isPast }: Knowing): readonly string[] {
  if (verdict === 'not asked') {
    return [
      isPast
        ? 'what its Rego said is not recorded'
        : 'its Rego is not asked: the decision is made without it',
    ]
  }
  switch (rego?.kind) {
    case 'undefined':
      return ['its Rego is undefined']
    case 'error':
      return [`its Rego failed: ${rego.message} [${rego.code}]`]
    case 'result': {
      const object = rego.object === undefined ? String(rego.allowed) : JSON.stringify(rego.object)
      return [`its Rego says ${object}`]
    }
    default:
      return []
  }
}

/** `rules[0]` of `ns/policy/rules[0]`. */
function indexOf({ id }: RuleTrace): string {
  return id.slice(id.lastIndexOf('/') + 1)
}

function missText(rule: RuleTrace, knowing: Knowing): readonly string[] {
  const shown = rule.misses.slice(0, SHOWN).map((m) => `${indexOf(rule)}.${oneMiss(m, knowing)}`)
  const rest = rule.misses.length - shown.length
  return rest > 0 ? [...shown, `${indexOf(rule)}: ${rest} more alternatives fail`] : shown
}

function oneMiss({ field, wants, has }: Miss, { knowsHeaders }: Knowing): string {
  const values = wants.slice(0, SHOWN).join(', ')
  const rest = wants.length > SHOWN ? ` and ${wants.length - SHOWN} more` : ''
  const isUnknown = !knowsHeaders && field.includes(HEADER)
  const is = has === undefined || has === '' ? 'the request has none' : `is ${has}`
  const found = isUnknown ? 'what the request had is not recorded' : is
  return toPrintableLine(`${field}: ${values}${rest}; ${found}`)
}
