/**
 * Rules as one lookup: URI SAN → `:method` → `:path`, each an exact map, then a prefix map, then the rules that have no
 * key there. A miss inside falls back to the next of these (tried: exact hit → `on_no_match`, longest prefix → shorter
 * prefix), so that no rule is hidden by a longer key of another one. What has no key stands in a list at the leaf.
 * DENY rules have a tree of their own before that of the ALLOW rules: within one, the longest key wins, not the strictest.
 */
import type { Direction } from '../../../common/authz/text-match.ts'
import type {
  Operation,
  Rule,
  Source,
  StringMatch,
  TemplateSegment,
  Term,
} from '../../../common/policy-set.ts'
import type { Matcher_OnMatch } from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import { hasOneForm, namespacePrefix } from './attributes.ts'
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

/** What a tree says when one of its rules matches. */
export type TreeAction = 'ALLOW' | 'DENY'

/** A chain, and how absence and encoded characters are read in it. */
interface Reading {
  readonly chain: Chain
  readonly direction: Direction
}

/** A decision that says `says`, with the rule's id, of what one of the rules matches, and else goes on with `otherwise`. */
export function buildRuleTree(
  says: TreeAction,
  rules: readonly Rule[],
  chain: Chain,
  otherwise: Matcher_OnMatch | undefined,
): Matcher_OnMatch | undefined {
  const reading: Reading = { chain, direction: says === 'ALLOW' ? 'allow' : 'deny' }
  const clauses = rules.flatMap((rule) => clausesOf(rule, reading)).filter((c) => c.rest !== FALSE)
  return buildLevel(clauses, { says, dimensions: DIMENSIONS }, otherwise)
}

interface Level {
  readonly says: TreeAction
  readonly dimensions: readonly Dimension[]
}

function buildLevel(
  clauses: readonly Clause[],
  { says, dimensions: [dimension, ...below] }: Level,
  otherwise: Matcher_OnMatch | undefined,
): Matcher_OnMatch | undefined {
  if (clauses.length === 0) return otherwise
  if (dimension === undefined) {
    return list(
      clauses.map((c) => ({ predicate: c.rest, onMatch: action(c.rule, says) })),
      otherwise,
    )
  }
  const unkeyed = clauses.filter((c) => c[dimension] === undefined)
  const level = { says, dimensions: below }
  let decision = buildLevel(unkeyed, level, otherwise)
  for (const kind of ['prefix', 'exact'] as const) {
    const children = new Map<string, Matcher_OnMatch>()
    for (const [key, members] of groupByKey(clauses, dimension, kind)) {
      const child = buildLevel(members, level, undefined)
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

function clausesOf(rule: Rule, reading: Reading): readonly Clause[] {
  const when = lowerConditions(rule.when, reading.chain, reading.direction)
  const sources = rule.from.length === 0 ? [ANY_SOURCE] : rule.from
  const operations = rule.to.length === 0 ? [ANY_OPERATION] : rule.to
  return sources.flatMap((source) =>
    operations.flatMap((operation) =>
      clausesOfPair(source, operation, reading).map(
        (c): Clause => ({ ...c, rule: rule.id, rest: all([c.rest, when]) }),
      ),
    ),
  )
}

function clausesOfPair(
  source: Source,
  operation: Operation,
  reading: Reading,
): readonly Omit<Clause, 'rule'>[] {
  const { chain, direction } = reading
  const restOf = (s: Source, o: Operation) =>
    all([lowerSource(s, chain, direction), lowerOperation(o, chain, direction)])
  const clauses = splitSource(source, chain).flatMap((s) =>
    splitOperation(operation, reading).map((o) => ({
      principal: s.keys,
      method: o.method,
      path: o.path,
      rest: restOf(s.source, o.operation),
    })),
  )
  if (clauses.reduce((sum, c) => sum + countLeaves(c), 0) <= MAX_LEAVES) return clauses
  const rest = restOf(source, operation)
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
  { chain, direction }: Reading,
): readonly (Pick<Clause, 'method' | 'path'> & { readonly operation: Operation })[] {
  if (chain.protocol === 'tcp') return [{ method: undefined, path: undefined, operation }]
  return splitTerm(operation.methods, methodKeys).flatMap((methods) =>
    splitTerm(operation.paths, (p) => pathKeys(p, direction)).map((paths) => ({
      method: methods.keys,
      path: paths.keys,
      operation: { ...operation, methods: methods.term, paths: paths.term },
    })),
  )
}

interface Part {
  readonly keys: Keys | undefined
  readonly term: Term<StringMatch>
}

/** The part of a term that its keys say wholly, one for each pattern that keys only narrow down, and the rest. */
function splitTerm(
  term: Term<StringMatch>,
  toKeys: (pattern: StringMatch) => KeysOfPattern | undefined,
): readonly Part[] {
  if (term.is.length === 0) return [{ keys: undefined, term }]
  const found = term.is.map((pattern) => ({ pattern, keys: toKeys(pattern) }))
  const whole = found.flatMap(({ keys }) => (keys?.isWhole === true ? [keys] : []))
  const narrowed = found.flatMap(({ pattern, keys }) =>
    keys?.isWhole === false ? [{ keys, term: { is: [pattern], not: term.not } }] : [],
  )
  const unkeyed = found.flatMap(({ pattern, keys }) => (keys === undefined ? [pattern] : []))
  const merged = { exact: whole.flatMap((k) => k.exact), prefix: whole.flatMap((k) => k.prefix) }
  return [
    ...(whole.length === 0 ? [] : [{ keys: merged, term: { is: [], not: term.not } }]),
    ...narrowed,
    ...(unkeyed.length === 0 ? [] : [{ keys: undefined, term: { is: unkeyed, not: term.not } }]),
  ]
}

interface KeysOfPattern extends Keys {
  /** Whether who finds the key has matched the pattern; else the pattern is tested at the leaf. */
  readonly isWhole: boolean
}

function principalKeys(pattern: StringMatch): KeysOfPattern | undefined {
  if (pattern.kind !== 'exact' && pattern.kind !== 'prefix') return undefined
  return isKey(pattern.value) ? oneKey(pattern.kind, pattern.value) : undefined
}

function namespaceKeys(
  pattern: StringMatch,
  domains: readonly string[],
): KeysOfPattern | undefined {
  if (pattern.kind !== 'exact' || pattern.value === '' || pattern.value.includes('/')) {
    return undefined
  }
  const prefix = domains.map((d) => namespacePrefix(d, pattern.value))
  return { exact: [], prefix, isWhole: true }
}

function methodKeys(pattern: StringMatch): KeysOfPattern | undefined {
  return pattern.kind === 'exact' && isKey(pattern.value)
    ? oneKey('exact', pattern.value)
    : undefined
}

/** `:path` has the query on it: an exact path is also the prefix `path?`. */
function pathKeys(pattern: StringMatch, direction: Direction): KeysOfPattern | undefined {
  if (pattern.kind === 'template') return narrowKey(literalHead(pattern.segments))
  if (pattern.kind !== 'exact' && pattern.kind !== 'prefix') return undefined
  const { kind, value } = pattern
  if (!isKey(value) || value.includes('?')) return undefined
  // What closes meets an encoded form too: only the text before it is a key.
  if (direction === 'deny' && !hasOneForm(value)) return narrowKey(value)
  return kind === 'prefix'
    ? oneKey('prefix', value)
    : { exact: [value], prefix: [`${value}?`], isWhole: true }
}

/** What each path that a template matches begins with. */
function literalHead(segments: readonly TemplateSegment[]): string {
  const open = segments.findIndex((s) => s.kind !== 'literal')
  const literals = segments.slice(0, open === -1 ? segments.length : open)
  const head = literals.map((s) => (s.kind === 'literal' ? `/${s.value}` : '')).join('')
  return open === -1 ? head : `${head}/`
}

/** The prefix that every path has which the literal meets in either form; nothing, when that says nothing. */
function narrowKey(literal: string): KeysOfPattern | undefined {
  const chars = Array.from(literal)
  const end = chars.findIndex((char) => !hasOneForm(char))
  const head = chars.slice(0, end === -1 ? chars.length : end).join('')
  if (head === '/' || !isKey(head) || head.includes('?')) return undefined
  return { exact: [], prefix: [head], isWhole: false }
}

function oneKey(kind: keyof Keys, key: string): KeysOfPattern {
  return { exact: [], prefix: [], [kind]: [key], isWhole: true }
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
