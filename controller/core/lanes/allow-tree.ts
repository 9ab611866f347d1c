/**
 * ALLOW rules as one lookup: URI SAN → `:method` → `:path`, each an exact map, then a prefix map, then the rules that
 * have no key there. A miss inside falls back to the next of these (tried: exact hit → `on_no_match`, longest prefix →
 * shorter prefix), so that no rule is hidden by a longer key of another one. What has no key stands in a list at the leaf.
 */
import type { Operation, Rule, Source, StringMatch, Term } from '../../../common/policy-set.ts'
import type { Matcher_OnMatch } from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import { namespacePrefix } from './attributes.ts'
import { all, FALSE, type Input, METHOD, PATH, type Predicate, URI_SAN } from './predicate.ts'
import { type Chain, lowerConditions, lowerOperation, lowerSource } from './rule.ts'
import { action, list, map } from './to-matcher.ts'

/** The keys of one attribute under which a clause is found; undefined: under none, it is met by every request. */
interface Keys {
  readonly exact: readonly string[]
  readonly prefix: readonly string[]
}

/** One way in which a rule matches: one of its `from`, one of its `to`, all of its `when`. */
interface Clause {
  readonly rule: string
  readonly principal: Keys | undefined
  readonly method: Keys | undefined
  readonly path: Keys | undefined
  /** What the keys don't say. */
  readonly rest: Predicate
}

type Dimension = 'principal' | 'method' | 'path'
const DIMENSIONS: readonly Dimension[] = ['principal', 'method', 'path']
const INPUTS: Readonly<Record<Dimension, Input>> = {
  principal: URI_SAN,
  method: METHOD,
  path: PATH,
}

/** Beyond this a `from` × `to` is one list entry: its keys would be written out for each product. A leaf takes 2.3 kB. */
const MAX_LEAVES = 2048

const NO_TERM = { is: [], not: [] }
const ANY_SOURCE: Source = { principals: NO_TERM, namespaces: NO_TERM, ipBlocks: NO_TERM }
const ANY_OPERATION: Operation = {
  hosts: NO_TERM,
  ports: NO_TERM,
  methods: NO_TERM,
  paths: NO_TERM,
}

/** A decision that allows, with the rule's id, what one of the rules allows, and else goes on with `otherwise`. */
export function buildAllowTree(
  rules: readonly Rule[],
  chain: Chain,
  otherwise: Matcher_OnMatch,
): Matcher_OnMatch {
  const clauses = rules.flatMap((rule) => clausesOf(rule, chain)).filter((c) => c.rest !== FALSE)
  return buildLevel(clauses, DIMENSIONS, otherwise) ?? otherwise
}

function buildLevel(
  clauses: readonly Clause[],
  dimensions: readonly Dimension[],
  otherwise: Matcher_OnMatch | undefined,
): Matcher_OnMatch | undefined {
  const [dimension, ...rest] = dimensions
  if (clauses.length === 0) return otherwise
  if (dimension === undefined) {
    return list(
      clauses.map((c) => ({ predicate: c.rest, onMatch: action(c.rule, 'ALLOW') })),
      otherwise,
    )
  }
  const unkeyed = clauses.filter((c) => c[dimension] === undefined)
  let decision = buildLevel(unkeyed, rest, otherwise)
  for (const kind of ['prefix', 'exact'] as const) {
    const children = new Map<string, Matcher_OnMatch>()
    for (const [key, members] of groupByKey(clauses, dimension, kind)) {
      const child = buildLevel(members, rest, undefined)
      if (child !== undefined) children.set(key, child)
    }
    if (children.size > 0) decision = map(kind, INPUTS[dimension], children, decision)
  }
  return decision
}

function groupByKey(
  clauses: readonly Clause[],
  dimension: Dimension,
  kind: keyof Keys,
): ReadonlyMap<string, readonly Clause[]> {
  const groups = new Map<string, Clause[]>()
  for (const clause of clauses) {
    for (const key of new Set(clause[dimension]?.[kind])) {
      const group = groups.get(key)
      if (group === undefined) groups.set(key, [clause])
      else group.push(clause)
    }
  }
  return groups
}

function clausesOf(rule: Rule, chain: Chain): readonly Clause[] {
  const when = lowerConditions(rule.when, chain, 'allow')
  const sources = rule.from.length === 0 ? [ANY_SOURCE] : rule.from
  const operations = rule.to.length === 0 ? [ANY_OPERATION] : rule.to
  return sources.flatMap((source) =>
    operations.flatMap((operation) =>
      clausesOfPair(source, operation, chain).map(
        (c): Clause => ({ ...c, rule: rule.id, rest: all([c.rest, when]) }),
      ),
    ),
  )
}

function clausesOfPair(
  source: Source,
  operation: Operation,
  chain: Chain,
): readonly Omit<Clause, 'rule'>[] {
  const clauses = splitSource(source, chain).flatMap((s) =>
    splitOperation(operation, chain).map((o) => ({
      principal: s.keys,
      method: o.method,
      path: o.path,
      rest: all([
        lowerSource(s.source, chain, 'allow'),
        lowerOperation(o.operation, chain, 'allow'),
      ]),
    })),
  )
  if (clauses.reduce((sum, c) => sum + countLeaves(c), 0) <= MAX_LEAVES) return clauses
  const rest = all([lowerSource(source, chain, 'allow'), lowerOperation(operation, chain, 'allow')])
  return [{ principal: undefined, method: undefined, path: undefined, rest }]
}

function splitSource(
  source: Source,
  chain: Chain,
): readonly { readonly keys: Keys | undefined; readonly source: Source }[] {
  if (chain.transport === 'plaintext') return [{ keys: undefined, source }]
  if (source.principals.is.length > 0) {
    return splitTerm(source.principals, principalKeys).map(({ keys, term }) => ({
      keys,
      source: { ...source, principals: term },
    }))
  }
  const { trustDomain, trustDomainAliases } = chain.domains
  const domains = [trustDomain, ...(trustDomainAliases ?? [])]
  return splitTerm(source.namespaces, (p) => namespaceKeys(p, domains)).map(({ keys, term }) => ({
    keys,
    source: { ...source, namespaces: term },
  }))
}

function splitOperation(
  operation: Operation,
  chain: Chain,
): readonly (Pick<Clause, 'method' | 'path'> & { readonly operation: Operation })[] {
  if (chain.protocol === 'tcp') return [{ method: undefined, path: undefined, operation }]
  return splitTerm(operation.methods, methodKeys).flatMap((methods) =>
    splitTerm(operation.paths, pathKeys).map((paths) => ({
      method: methods.keys,
      path: paths.keys,
      operation: { ...operation, methods: methods.term, paths: paths.term },
    })),
  )
}

/** The part of a term that is found by keys, without them, and the part that isn't. */
function splitTerm(
  term: Term<StringMatch>,
  toKeys: (pattern: StringMatch) => Keys | undefined,
): readonly { readonly keys: Keys | undefined; readonly term: Term<StringMatch> }[] {
  if (term.is.length === 0) return [{ keys: undefined, term }]
  const keys = term.is.flatMap((p) => toKeys(p) ?? [])
  const unkeyed = term.is.filter((p) => toKeys(p) === undefined)
  const parts: { keys: Keys | undefined; term: Term<StringMatch> }[] = []
  if (keys.length > 0) {
    const merged = { exact: keys.flatMap((k) => k.exact), prefix: keys.flatMap((k) => k.prefix) }
    parts.push({ keys: merged, term: { is: [], not: term.not } })
  }
  if (unkeyed.length > 0) parts.push({ keys: undefined, term: { is: unkeyed, not: term.not } })
  return parts
}

function principalKeys(pattern: StringMatch): Keys | undefined {
  if (pattern.kind !== 'exact' && pattern.kind !== 'prefix') return undefined
  return isKey(pattern.value) ? oneKey(pattern.kind, pattern.value) : undefined
}

function namespaceKeys(pattern: StringMatch, domains: readonly string[]): Keys | undefined {
  if (pattern.kind !== 'exact' || pattern.value === '' || pattern.value.includes('/')) {
    return undefined
  }
  return { exact: [], prefix: domains.map((d) => namespacePrefix(d, pattern.value)) }
}

function methodKeys(pattern: StringMatch): Keys | undefined {
  return pattern.kind === 'exact' && isKey(pattern.value)
    ? oneKey('exact', pattern.value)
    : undefined
}

/** `:path` has the query on it: an exact path is also the prefix `path?`. */
function pathKeys(pattern: StringMatch): Keys | undefined {
  if (pattern.kind !== 'exact' && pattern.kind !== 'prefix') return undefined
  if (!isKey(pattern.value) || pattern.value.includes('?')) return undefined
  return pattern.kind === 'prefix'
    ? oneKey('prefix', pattern.value)
    : { exact: [pattern.value], prefix: [`${pattern.value}?`] }
}

function oneKey(kind: keyof Keys, key: string): Keys {
  return kind === 'exact' ? { exact: [key], prefix: [] } : { exact: [], prefix: [key] }
}

/** `__proto__` can't be a key of the object that a protobuf map is; an empty key says nothing. */
function isKey(text: string): boolean {
  return text !== '' && text !== '__proto__'
}

function countLeaves(clause: Omit<Clause, 'rule'>): number {
  return DIMENSIONS.reduce((product, dimension) => {
    const keys = clause[dimension]
    return keys === undefined ? product : product * (keys.exact.length + keys.prefix.length)
  }, 1)
}
