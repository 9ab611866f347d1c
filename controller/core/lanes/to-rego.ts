/**
 * The declarative rules of a policy set as one Rego module over opa-envoy-plugin's input, for `explain` and for the
 * differential tests: a third reading of DESIGN §4's fine print, beside common/authz and Envoy's tree.
 * In: the set. Out: the module's text; `allow` is the decision. What a policy's own Rego said is `input.rego["ns/name"]`:
 * "true", "false", "error", or nothing for undefined. Nothing that runs in the mesh is made of it.
 */
import { directionOf } from '../../../common/authz/evaluate.ts'
import {
  DOT_GUARD_PATTERN,
  HOST_GUARD_PATTERN,
  METHOD_GUARD_PATTERN,
  PATH_GUARD_PATTERN,
} from '../../../common/authz/guards.ts'
import type { Direction } from '../../../common/authz/text-match.ts'
import {
  type Condition,
  type Operation,
  type Policy,
  type PolicySet,
  policyId,
  type Rule,
  type Source,
  type StringMatch,
  type Term,
} from '../../../common/policy-set.ts'
import {
  addressTerm,
  createRegoWriter,
  headerTerm,
  oneOf,
  quote,
  type RegoWriter,
  textTerm,
} from './rego-terms.ts'

export interface RegoOptions {
  /** Dotted package of the module. Default `postern.rules`. */
  readonly package?: string
  /** Default `http`. */
  readonly protocol?: 'http' | 'tcp'
}

interface Context {
  readonly isTcp: boolean
  readonly direction: Direction
  readonly writer: RegoWriter
}

/** Rego V1. Equal sets give equal text. */
export function toRego(set: PolicySet, options: RegoOptions = {}): string {
  const isTcp = options.protocol === 'tcp'
  const writer = createRegoWriter()
  const policies = set.policies.map((policy, i) => {
    const name = `policy_${i}`
    return writePolicy(policy, name, { isTcp, writer, direction: directionOf(policy.action) })
  })
  const head = `# ${set.workload}: what its declarative rules say. Mutations and denials of Rego policies are not in it.`
  const sections = [
    [head, `package ${options.package ?? 'postern.rules'}`],
    [ATTRIBUTES, namespaceRule(set)],
    isTcp ? [PEER_GUARDS] : [PEER_GUARDS, HTTP_GUARDS],
    ...policies,
    writer.lines,
    [...emptySets(policies.flat()), DECISION, permission(set)],
  ]
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`
}

const ATTRIBUTES = `
http := input.attributes.request.http

principal := p if { p := input.attributes.source.principal; p != "" }

method := m if { m := http.method; m != "" }

path := p if { p := split(http.path, "?")[0]; p != "" }

port := input.attributes.destination.address.socketAddress.portValue

port_text := sprintf("%d", [port])

address := a if { a := input.attributes.source.address.socketAddress.address; net.cidr_is_valid(sprintf("%s/0", [a])) }

ascii_lower := {c: l | some i, c in split("ABCDEFGHIJKLMNOPQRSTUVWXYZ", ""); l := split("abcdefghijklmnopqrstuvwxyz", "")[i]}

host := h if {
	h := trim_suffix(regex.replace(strings.replace_n(ascii_lower, http.host), ":[0-9]*$", ""), ".")
	h != ""
}

header(name) := v if { v := http.headers[name]; v != "" }

members(value) := [m | some part in split(value, ","); m := trim(part, " \\t"); m != ""]`.trim()

function namespaceRule({ trustDomain, trustDomainAliases = [] }: PolicySet): string {
  const domains = [...new Set([trustDomain, ...trustDomainAliases])].map(quote).join(', ')
  return `
namespace := parts[0] if {
	some domain in [${domains}]
	prefix := sprintf("spiffe://%s/ns/", [domain])
	startswith(principal, prefix)
	parts := split(trim_prefix(principal, prefix), "/")
	parts[0] != ""
	parts[1] == "sa"
	count(parts) > 2
}`
}

const PEER_GUARDS = `
guards contains "guard/san" if { startswith(principal, "spiffe://"); contains(principal, ",") }

guards contains "guard/identity" if { not startswith(principal, "spiffe://"); principal != "" }`.trim()

const HTTP_GUARDS = `
has_plain_path if regex.match(${quote(`^(?:${PATH_GUARD_PATTERN})$`)}, http.path)

guards contains "guard/path" if not has_plain_path

guards contains "guard/path" if regex.match(${quote(`^(?:${DOT_GUARD_PATTERN})$`)}, http.path)

has_plain_host if regex.match(${quote(`^(?:${HOST_GUARD_PATTERN})$`)}, http.host)

guards contains "guard/host" if not has_plain_host

has_plain_method if regex.match(${quote(`^(?:${METHOD_GUARD_PATTERN})$`)}, http.method)

guards contains "guard/method" if not has_plain_method`

const DECISION = `
default allow := false

allow if { count(guards) == 0; count(denied) == 0; permitted }

default permitted := false
`.trim()

/** OPA wants every name that is read to be there. */
function emptySets(lines: readonly string[]): readonly string[] {
  return ['denied', 'refused', 'granted']
    .filter((name) => !lines.some((line) => line.startsWith(`${name} contains `)))
    .map((name) => `${name} := set()`)
}

/** DESIGN §4: with an ALLOW policy one must match and none may refuse; with none, the default action decides. */
function permission(set: PolicySet): string {
  const hasAllow = set.policies.some((p) => p.mode === 'Enforce' && p.action === 'ALLOW')
  if (hasAllow) return 'permitted if { count(refused) == 0; count(granted) > 0 }'
  const isOpen = set.defaultAction === 'ALLOW' || set.defaultMode === 'Shadow'
  return `permitted if ${isOpen}`
}

/** `<name>` is the set of rules that matched; then what that means for the decision. Shadow and AUDIT mean nothing. */
function writePolicy(policy: Policy, name: string, context: Context): readonly string[] {
  const id = quote(policyId(policy))
  return [
    `# ${policy.mode === 'Shadow' ? 'Shadow ' : ''}${policy.required ? 'required ' : ''}${policy.action} ${policyId(policy)}`,
    ...writeRules(policy, name, context),
    ...(policy.mode === 'Enforce' ? writeVerdict(policy, name, id, context) : []),
  ]
}

function writeRules(policy: Policy, name: string, context: Context): readonly string[] {
  if (policy.rules === undefined) {
    return [`${name} := ${policy.rego === undefined ? 'set()' : `{${quote(policyId(policy))}}`}`]
  }
  if (policy.rules.length === 0) return [`${name} := set()`]
  return policy.rules.map(
    (rule) => `${name} contains ${quote(rule.id)} if { ${bodyOf(rule, context)} }`,
  )
}

function writeVerdict(policy: Policy, name: string, id: string, context: Context): string[] {
  const matches = `count(${name}) > 0`
  const hasRego = policy.rego !== undefined && !context.isTcp
  const says = hasRego ? `${matches}; input.rego[${id}] == "true"` : matches
  const fails = `${matches}; input.rego[${id}] == "error"`
  const isClosed = hasRego && policy.onError === 'Deny'
  if (policy.action === 'DENY') {
    const causes = isClosed ? [says, fails] : [says]
    return causes.map((cause) => `denied contains ${id} if { ${cause} }`)
  }
  if (policy.action === 'AUDIT') return []
  const isNever = policy.rego !== undefined && context.isTcp
  const passes = isNever ? ['false'] : hasRego && !isClosed ? [says, fails] : [says]
  return [
    ...passes.map((cause) => `granted contains ${id} if { ${cause} }`),
    ...(isClosed ? [`refused contains ${id} if { ${fails} }`] : []),
    ...(policy.required ? [`refused contains ${id} if not ${id} in granted`] : []),
  ]
}

function bodyOf(rule: Rule, context: Context): string {
  const { writer } = context
  const from = rule.from.map((s) => conjunction(sourceTerms(s, context)))
  const to = rule.to.map((o) => conjunction(operationTerms(o, context)))
  return conjunction([
    ...(from.length === 0 ? [] : [oneOf(from, writer)]),
    ...(to.length === 0 ? [] : [oneOf(to, writer)]),
    ...rule.when.flatMap((c) => conditionTerms(c, context)),
  ])
}

function conjunction(expressions: readonly string[]): string {
  return expressions.length === 0 ? 'true' : expressions.join('; ')
}

function sourceTerms(source: Source, { direction, writer }: Context): readonly string[] {
  return [
    ...textTerm(source.principals, 'principal', direction, writer),
    ...textTerm(source.namespaces, 'namespace', direction, writer),
    ...addressTerm(source.ipBlocks, direction, writer),
  ]
}

function operationTerms(operation: Operation, context: Context): readonly string[] {
  const { direction, writer, isTcp } = context
  const { ports, methods, paths, hosts } = operation
  const http: readonly (readonly [string, Term<StringMatch>])[] = [
    ['method', methods],
    ['path', paths],
    ['host', hosts],
  ]
  const isHttp = http.some(([, term]) => term.is.length + term.not.length > 0)
  return [
    ...(ports.is.length === 0 ? [] : [`port in {${ports.is.join(', ')}}`]),
    ...(ports.not.length === 0 ? [] : [`not port in {${ports.not.join(', ')}}`]),
    ...(isTcp && isHttp && direction === 'allow' ? ['false'] : []),
    ...(isTcp ? [] : http.flatMap(([name, term]) => textTerm(term, name, direction, writer))),
  ]
}

const VARIABLES = {
  'source.principal': 'principal',
  'source.namespace': 'namespace',
  'destination.port': 'port_text',
} as const

function conditionTerms(condition: Condition, context: Context): readonly string[] {
  const { direction, writer, isTcp } = context
  if ('blocks' in condition) return addressTerm(condition.blocks, direction, writer)
  const { key, values } = condition
  if (key.kind !== 'header') return textTerm(values, VARIABLES[key.kind], direction, writer)
  if (!isTcp) return headerTerm(values, key.name, direction, writer)
  return direction === 'deny' || values.is.length + values.not.length === 0 ? [] : ['false']
}
