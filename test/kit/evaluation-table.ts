/**
 * The truth table of docs/reference/evaluation.md as test cases. In: the page. Out: one policy set per row, what each
 * policy's Rego says, and the decision that the row promises.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RegoOutcome } from '../../common/authz/combine.ts'
import type { RequestAttributes } from '../../common/authz/request.ts'
import {
  comparePolicies,
  type Policy,
  type PolicyAction,
  type PolicySet,
  type Rule,
} from '../../common/policy-set.ts'

const PAGE = join(import.meta.dirname, '../../docs/reference/evaluation.md')
const HEADING = '## Truth table'
const ERROR = 'ERR_POLICY_ERROR'

export interface TableRow {
  readonly title: string
  readonly set: PolicySet
  /** By policy id; a policy that is not here has no Rego. */
  readonly rego: ReadonlyMap<string, RegoOutcome>
  readonly want: {
    readonly allowed: boolean
    readonly policy: string
    readonly reason: string
    readonly shadow: readonly string[]
    readonly audit: readonly string[]
    readonly failedOpen: readonly string[]
  }
}

/** The request that all rows are about. */
export const TABLE_REQUEST: RequestAttributes = {
  protocol: 'http',
  principal: undefined,
  sourceAddress: '127.0.0.1',
  destinationPort: 8080,
  method: 'GET',
  path: '/match',
}

export function readEvaluationTable(): readonly TableRow[] {
  const page = readFileSync(PAGE, 'utf8')
  const [section = ''] = page.slice(page.indexOf(HEADING) + HEADING.length).split('\n## ')
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  if (!page.includes(HEADING) || rows.length < 3) throw new Error('the page has no truth table')
  return rows.slice(2).map(readRow)
}

function readRow(line: string): TableRow {
  const cells = line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
  const [a = '', b = '', byDefault = '', answer, by = '', reason = '', recorded = ''] = cells
  if (cells.length !== 7 || (answer !== 'allow' && answer !== 'deny')) throw new Error(line)
  const parts = [readPolicy('a', a), readPolicy('b', b)].filter((p) => p !== undefined)
  const [action, mode = 'Enforce'] = byDefault.split(' ')
  const list = (what: string) =>
    recorded.startsWith(what) ? [named(recorded.slice(what.length))] : []
  return {
    title: line,
    set: {
      workload: 'ns/app',
      trustDomain: 'td',
      defaultAction: oneOf(action, ['ALLOW', 'DENY']),
      defaultMode: oneOf(mode, ['Enforce', 'Shadow']),
      policies: parts.map((p) => p.policy).sort(comparePolicies),
    },
    rego: new Map(
      parts.flatMap((p) => (p.rego === undefined ? [] : [[`ns/${p.policy.name}`, p.rego]])),
    ),
    want: {
      allowed: answer === 'allow',
      policy: named(by),
      reason: reason === 'error' ? ERROR : reason,
      shadow: list('shadow '),
      audit: list('audit '),
      failedOpen: list('failed open '),
    },
  }
}

interface PolicyCell {
  readonly policy: Policy
  readonly rego?: RegoOutcome
}

function readPolicy(name: string, cell: string): PolicyCell | undefined {
  if (cell === '') return undefined
  const [head = '', ...terms] = cell.split(', ')
  const [action, ...flags] = head.split(' ')
  const rules = terms.find((term) => term.startsWith('rules '))?.slice('rules '.length)
  const says = terms.find((term) => term.startsWith('Rego '))?.slice('Rego '.length)
  const policy: Policy = {
    namespace: 'ns',
    name,
    action: oneOf<PolicyAction>(action, ['ALLOW', 'DENY', 'AUDIT']),
    mode: flags.includes('Shadow') ? 'Shadow' : 'Enforce',
    required: flags.includes('required'),
    onError: terms.includes('onError Allow') ? 'Allow' : 'Deny',
    ...(rules === undefined ? {} : { rules: rules === 'empty' ? [] : [ruleAbout(name, rules)] }),
    ...(says === undefined ? {} : { rego: REGO }),
  }
  return says === undefined ? { policy } : { policy, rego: outcomeOf(says) }
}

const REGO = {
  entrypoint: 'envoy/authz/allow',
  wasmDigest: '0'.repeat(64),
  data: {},
  readsBody: false,
}

function ruleAbout(name: string, path: string): Rule {
  const none = { is: [], not: [] }
  const value = `/${oneOf(path, ['match', 'miss'])}`
  const paths = { is: [{ kind: 'exact', value }] as const, not: [] }
  const operation = { hosts: none, ports: none, methods: none, paths }
  return { id: `ns/${name}/rules[0]`, from: [], to: [operation], when: [] }
}

function outcomeOf(says: string): RegoOutcome {
  switch (oneOf(says, ['true', 'false', 'undefined', 'error'])) {
    case 'undefined':
      return { kind: 'undefined' }
    case 'error':
      return { kind: 'error', code: ERROR, message: 'says the table' }
    default:
      return { kind: 'result', allowed: says === 'true' }
  }
}

function named(policy: string): string {
  return policy === 'default' ? policy : `ns/${oneOf(policy, ['a', 'b'])}`
}

function oneOf<T extends string>(text: string | undefined, from: readonly T[]): T {
  const found = from.find((t) => t === text)
  if (found === undefined) throw new Error(`${text} is none of ${from.join(', ')}`)
  return found
}
