/**
 * Why a rule can't be told to Envoy exactly, if so: it then stays with the sidecar, which reads every rule.
 * Out: the reason that `explain` shows, or undefined for a rule that `rule.ts` lowers without any difference.
 * Must err on the side of an obstacle.
 */
import type {
  Condition,
  Operation,
  Rule,
  Source,
  StringMatch,
  Term,
} from '../../../common/policy-set.ts'
import { isHostExact } from './attributes.ts'

export function findObstacle(rule: Rule): string | undefined {
  return (
    rule.from.map(inSource).find(isText) ??
    rule.to.map(inOperation).find(isText) ??
    rule.when.map(inCondition).find(isText)
  )
}

function inSource(source: Source): string | undefined {
  return (
    inTerm(source.principals, 'a principal', hasUnclearByte) ??
    inTerm(source.namespaces, 'a namespace', hasUnclearByte)
  )
}

function inOperation(operation: Operation): string | undefined {
  return (
    inTerm(operation.methods, 'a method', hasUnclearByte) ??
    inTerm(operation.hosts, 'a host', hasUnclearByte) ??
    inTerm(operation.paths, 'a path', (p) => !isWellFormed(p)) ??
    (patternsOf(operation.hosts).every(isHostExact)
      ? undefined
      : 'a host with a port, a trailing dot or digits only is not the same text for Envoy')
  )
}

function inCondition(condition: Condition): string | undefined {
  if ('blocks' in condition) return undefined
  return inTerm(condition.values, `a value of ${condition.key.kind}`, hasUnclearByte)
}

function inTerm(
  term: Term<StringMatch>,
  what: string,
  isUnclear: (pattern: StringMatch) => boolean,
): string | undefined {
  return patternsOf(term).some(isUnclear)
    ? `${what} holds "!", which also stands for bytes that are not UTF-8, or is not text`
    : undefined
}

/** Envoy shows an external authorizer `!` for a byte that is not UTF-8, its own matchers the byte (LOWERING §4, 12). */
function hasUnclearByte(pattern: StringMatch): boolean {
  return ('value' in pattern && pattern.value.includes('!')) || !isWellFormed(pattern)
}

function isWellFormed(pattern: StringMatch): boolean {
  if (pattern.kind === 'template') {
    return pattern.segments.every((s) => s.kind !== 'literal' || s.value.isWellFormed())
  }
  return !('value' in pattern) || pattern.value.isWellFormed()
}

function patternsOf(term: Term<StringMatch>): readonly StringMatch[] {
  return [...term.is, ...term.not]
}

function isText(reason: string | undefined): reason is string {
  return reason !== undefined
}
