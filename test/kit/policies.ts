/** Builders for policies in tests: what isn't given is absent, enforced and not required. */
import type {
  Condition,
  Operation,
  Policy,
  PolicySet,
  Rule,
  Source,
  StringMatch,
  Term,
} from '../../common/policy-set.ts'

export const NO_TERM = { is: [], not: [] }

/** `a`, `a*`, `*a` or `*`, as a user would write it. */
export function pattern(text: string): StringMatch {
  if (text === '*') return { kind: 'present' }
  if (text.endsWith('*')) return { kind: 'prefix', value: text.slice(0, -1) }
  return text.startsWith('*')
    ? { kind: 'suffix', value: text.slice(1) }
    : { kind: 'exact', value: text }
}

export function is(...texts: readonly string[]): Term<StringMatch> {
  return { is: texts.map(pattern), not: [] }
}

export function not(...texts: readonly string[]): Term<StringMatch> {
  return { is: [], not: texts.map(pattern) }
}

export function source(given: Partial<Source>): Source {
  return { principals: NO_TERM, namespaces: NO_TERM, ipBlocks: NO_TERM, ...given }
}

export function operation(given: Partial<Operation>): Operation {
  return { hosts: NO_TERM, ports: NO_TERM, methods: NO_TERM, paths: NO_TERM, ...given }
}

export function header(name: string, values: Term<StringMatch>): Condition {
  return { key: { kind: 'header', name }, values }
}

/** Rules are named `ns/<name>/rules[i]`. */
export function makePolicy(
  given: Partial<Omit<Policy, 'rules'>> & { readonly rules?: readonly Partial<Rule>[] } = {},
): Policy {
  const { rules, ...rest } = given
  const name = given.name ?? 'p'
  return {
    namespace: 'ns',
    name,
    action: 'ALLOW',
    mode: 'Enforce',
    required: false,
    onError: 'Deny',
    ...rest,
    ...(rules === undefined
      ? {}
      : {
          rules: rules.map((rule, i) => ({
            id: `ns/${name}/rules[${i}]`,
            from: [],
            to: [],
            when: [],
            ...rule,
          })),
        }),
  }
}

export const REGO = {
  entrypoint: 'envoy/authz/allow',
  wasmDigest: '0'.repeat(64),
  data: {},
  readsBody: false,
}

export function makeSet(policies: readonly Policy[], given: Partial<PolicySet> = {}): PolicySet {
  return {
    workload: 'ns/app',
    trustDomain: 'td',
    defaultAction: 'DENY',
    defaultMode: 'Enforce',
    policies,
    ...given,
  }
}
