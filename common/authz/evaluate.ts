/**
 * Declarative rules against one request: the plain reading of DESIGN §4's fine print, and the reference for Envoy's tree.
 * In: a policy, a request, the names of the trust domain. Out: whether the rules match, and which one did.
 * Pure and synchronous; never asks Rego; an absent attribute never helps an ALLOW and never saves from a DENY.
 */
import type { Condition, Operation, Policy, Rule, Source, Term } from '../policy-set.ts'
import { type CidrBlock, type IpAddress, isInBlock, parseAddress, parseCidr } from './address.ts'
import { headerTermHolds } from './header-match.ts'
import { pathTermHolds } from './path-match.ts'
import {
  cutQuery,
  namespaceOf,
  normaliseHost,
  type RequestAttributes,
  type TrustDomains,
} from './request.ts'
import { type Direction, textTermHolds } from './text-match.ts'

export interface RuleMatch {
  readonly matched: boolean
  /** Id of the first rule that matched; absent when the policy has no rules. */
  readonly rule?: string
}

/** A request with what its terms compare, worked out once for all policies of a set, and only when one asks. */
export interface RequestFacts {
  readonly isTcp: boolean
  readonly principal: string | undefined
  readonly namespace: () => string | undefined
  readonly address: () => IpAddress | undefined
  /** The peer's address as it was given, for explanations. */
  readonly sourceText: string | undefined
  readonly port: number
  readonly method: string | undefined
  readonly path: string | undefined
  readonly host: () => string | undefined
  readonly headers: Readonly<Record<string, string>>
}

const NO_MATCH: RuleMatch = { matched: false }
const ALWAYS: RuleMatch = { matched: true }

export function directionOf(action: Policy['action']): Direction {
  return action === 'ALLOW' ? 'allow' : 'deny'
}

export function readFacts(request: RequestAttributes, domains: TrustDomains): RequestFacts {
  const principal = request.principal === '' ? undefined : request.principal
  return {
    isTcp: request.protocol === 'tcp',
    principal,
    namespace: once(principal, (text) => namespaceOf(text, domains)),
    address: once(request.sourceAddress, parseAddress),
    sourceText: request.sourceAddress,
    port: request.destinationPort,
    method: request.method,
    path: request.path === undefined ? undefined : cutQuery(request.path),
    host: once(request.host, normaliseHost),
    headers: request.headers ?? {},
  }
}

function once<T>(
  text: string | undefined,
  read: (text: string) => T | undefined,
): () => T | undefined {
  let known: { readonly value: T | undefined } | undefined
  return () => {
    known ??= { value: text === undefined ? undefined : read(text) }
    return known.value
  }
}

/**
 * Whether the policy's rules match, before any Rego. `rules` absent: always, when there is Rego; never, when there is none.
 * `rules: []` matches nothing.
 */
export function matchPolicyRules(
  policy: Policy,
  request: RequestAttributes,
  domains: TrustDomains,
): RuleMatch {
  return matchFacts(policy, readFacts(request, domains))
}

/** `matchPolicyRules` for facts that were read before. */
export function matchFacts(policy: Policy, facts: RequestFacts): RuleMatch {
  if (policy.rules === undefined) return policy.rego === undefined ? NO_MATCH : ALWAYS
  const direction = directionOf(policy.action)
  for (const rule of policy.rules) {
    if (ruleMatches(rule, facts, direction)) return { matched: true, rule: rule.id }
  }
  return NO_MATCH
}

function ruleMatches(rule: Rule, facts: RequestFacts, direction: Direction): boolean {
  return (
    (rule.from.length === 0 || rule.from.some((s) => sourceHolds(s, facts, direction))) &&
    (rule.to.length === 0 || rule.to.some((o) => operationHolds(o, facts, direction))) &&
    rule.when.every((c) => conditionHolds(c, facts, direction))
  )
}

function sourceHolds(source: Source, facts: RequestFacts, direction: Direction): boolean {
  return (
    textTermHolds(source.principals, facts.principal, direction) &&
    (isEmpty(source.namespaces) ||
      textTermHolds(source.namespaces, facts.namespace(), direction)) &&
    (isEmpty(source.ipBlocks) || addressTermHolds(source.ipBlocks, facts.address(), direction))
  )
}

function operationHolds(operation: Operation, facts: RequestFacts, direction: Direction): boolean {
  if (!portTermHolds(operation.ports, facts.port)) return false
  if (facts.isTcp) {
    return (
      direction === 'deny' || [operation.hosts, operation.methods, operation.paths].every(isEmpty)
    )
  }
  return (
    textTermHolds(operation.methods, facts.method, direction) &&
    pathTermHolds(operation.paths, facts.path, direction) &&
    (isEmpty(operation.hosts) || textTermHolds(operation.hosts, facts.host(), direction))
  )
}

function conditionHolds(condition: Condition, facts: RequestFacts, direction: Direction): boolean {
  if ('blocks' in condition) return addressTermHolds(condition.blocks, facts.address(), direction)
  const { key, values } = condition
  switch (key.kind) {
    case 'header':
      if (facts.isTcp) return direction === 'deny' || isEmpty(values)
      return headerTermHolds(values, headerOf(facts, key.name), direction)
    case 'source.principal':
      return textTermHolds(values, facts.principal, direction)
    case 'source.namespace':
      return textTermHolds(values, facts.namespace(), direction)
    case 'destination.port':
      return textTermHolds(values, String(facts.port), direction)
  }
}

function headerOf(facts: RequestFacts, name: string): string | undefined {
  return Object.hasOwn(facts.headers, name) ? facts.headers[name] : undefined
}

function portTermHolds(term: Term<number>, port: number): boolean {
  return (term.is.length === 0 || term.is.includes(port)) && !term.not.includes(port)
}

function addressTermHolds(
  term: Term<string>,
  address: IpAddress | undefined,
  direction: Direction,
): boolean {
  const blocks = blocksOf(term)
  if (blocks.is.length > 0 && !(address !== undefined && isInAny(address, blocks.is))) return false
  if (blocks.not.length === 0) return true
  return address === undefined ? direction === 'deny' : !isInAny(address, blocks.not)
}

function isInAny(address: IpAddress, blocks: readonly CidrBlock[]): boolean {
  return blocks.some((block) => isInBlock(address, block))
}

const parsedBlocks = new WeakMap<Term<string>, Term<CidrBlock>>()

/** CIDR text is parsed once per policy set, not once per request. */
function blocksOf(term: Term<string>): Term<CidrBlock> {
  const known = parsedBlocks.get(term)
  if (known !== undefined) return known
  const parsed = { is: term.is.map(requireCidr), not: term.not.map(requireCidr) }
  parsedBlocks.set(term, parsed)
  return parsed
}

/** A set with a block that can't be read is a bug of its maker; evaluating on would widen or narrow it silently. */
function requireCidr(text: string): CidrBlock {
  const block = parseCidr(text)
  if (block === undefined) throw new RangeError(`not a CIDR block: ${text}`)
  return block
}

function isEmpty(term: Term<unknown>): boolean {
  return term.is.length === 0 && term.not.length === 0
}
