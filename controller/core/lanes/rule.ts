/**
 * One declarative rule as a predicate, for one port, transport and protocol.
 * In: a rule that has no obstacle (obstacle.ts). Out: what is true exactly when the evaluator says that the rule matches.
 */
import { type CidrBlock, isInBlock, parseCidr } from '../../../common/authz/address.ts'
import type { TrustDomains } from '../../../common/authz/request.ts'
import type { Direction } from '../../../common/authz/text-match.ts'
import type { Condition, Operation, Rule, Source, Term } from '../../../common/policy-set.ts'
import {
  ABSENT,
  type Attribute,
  host,
  lowerTextTerm,
  method,
  namespaceAttribute,
  path,
  portAttribute,
  principal,
} from './attributes.ts'
import { lowerHeaderTerm } from './header-term.ts'
import { all, any, constant, FALSE, not, type Predicate, TRUE } from './predicate.ts'

/** One filter chain: what its tree is built for. */
export interface Chain {
  readonly protocol: 'http' | 'tcp'
  readonly transport: 'tls' | 'plaintext'
  /** The inbound port; rules about ports are settled here. */
  readonly port: number
  readonly domains: TrustDomains
}

export function lowerRule(rule: Rule, chain: Chain, direction: Direction): Predicate {
  const from = rule.from.map((s) => lowerSource(s, chain, direction))
  const to = rule.to.map((o) => lowerOperation(o, chain, direction))
  return all([
    rule.from.length === 0 ? TRUE : any(from),
    rule.to.length === 0 ? TRUE : any(to),
    lowerConditions(rule.when, chain, direction),
  ])
}

export function lowerSource(source: Source, chain: Chain, direction: Direction): Predicate {
  return all([
    lowerTextTerm(source.principals, principalOf(chain), direction),
    lowerTextTerm(source.namespaces, namespaceOf(chain), direction),
    lowerAddresses(source.ipBlocks),
  ])
}

export function lowerOperation(
  operation: Operation,
  chain: Chain,
  direction: Direction,
): Predicate {
  const { ports, methods, paths, hosts } = operation
  const isPort = constant(
    (ports.is.length === 0 || ports.is.includes(chain.port)) && !ports.not.includes(chain.port),
  )
  if (chain.protocol === 'tcp') {
    const isHttp = ![methods, paths, hosts].every(isEmpty)
    return isHttp && direction === 'allow' ? FALSE : isPort
  }
  return all([
    isPort,
    lowerTextTerm(methods, method, direction),
    lowerTextTerm(paths, path, direction),
    lowerTextTerm(hosts, host, direction),
  ])
}

export function lowerConditions(
  conditions: readonly Condition[],
  chain: Chain,
  direction: Direction,
): Predicate {
  return all(conditions.map((c) => lowerCondition(c, chain, direction)))
}

function lowerCondition(condition: Condition, chain: Chain, direction: Direction): Predicate {
  if ('blocks' in condition) return lowerAddresses(condition.blocks)
  const { key, values } = condition
  switch (key.kind) {
    case 'header':
      if (chain.protocol === 'http') return lowerHeaderTerm(values, key.name, direction)
      return constant(direction === 'deny' || isEmpty(values))
    case 'source.principal':
      return lowerTextTerm(values, principalOf(chain), direction)
    case 'source.namespace':
      return lowerTextTerm(values, namespaceOf(chain), direction)
    case 'destination.port':
      return lowerTextTerm(values, portAttribute(chain.port), direction)
  }
}

/** The peer always has an address on the listeners that Postern makes, so absence needs no care here. */
function lowerAddresses(term: Term<string>): Predicate {
  return all([
    term.is.length === 0 ? TRUE : isInBlocks(term.is),
    term.not.length === 0 ? TRUE : not(isInBlocks(term.not)),
  ])
}

const IPV4_MAPPED: CidrBlock = {
  bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0],
  bits: 96,
}

/** An IPv4 block counts in its IPv4-mapped form too; an IPv6 block that holds the mapped range, without it. */
function isInBlocks(texts: readonly string[]): Predicate {
  const blocks = texts.map(requireCidr)
  const plain = blocks.filter((b) => !holdsMappedRange(b))
  const mapped = plain.filter((b) => b.bytes.length === 4).map(toMapped)
  const wide = blocks.filter(holdsMappedRange)
  return any([isInAny([...plain, ...mapped]), all([isInAny(wide), not(isInAny([IPV4_MAPPED]))])])
}

function isInAny(blocks: readonly CidrBlock[]): Predicate {
  return blocks.length === 0 ? FALSE : { kind: 'address', blocks }
}

function holdsMappedRange(block: CidrBlock): boolean {
  return block.bytes.length === 16 && block.bits <= 96 && isInBlock(IPV4_MAPPED, block)
}

function toMapped(block: CidrBlock): CidrBlock {
  return { bytes: [...IPV4_MAPPED.bytes.slice(0, 12), ...block.bytes], bits: 96 + block.bits }
}

function requireCidr(text: string): CidrBlock {
  const block = parseCidr(text)
  if (block === undefined) throw new RangeError(`not a CIDR block: ${text}`)
  return block
}

function principalOf(chain: Chain): Attribute {
  return chain.transport === 'tls' ? principal : ABSENT
}

function namespaceOf(chain: Chain): Attribute {
  if (chain.transport === 'plaintext') return ABSENT
  return namespaceAttribute([
    chain.domains.trustDomain,
    ...(chain.domains.trustDomainAliases ?? []),
  ])
}

function isEmpty(term: Term<unknown>): boolean {
  return term.is.length === 0 && term.not.length === 0
}
