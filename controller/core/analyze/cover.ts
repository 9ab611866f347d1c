/**
 * Whether one rule matches all that another one matches. Must never say so of a rule that doesn't: what can't be told
 * counts as no. In: two rules as values. The wider may stand in a DENY, which reads absence and encodings wider still.
 */
import { isInBlock, parseCidr } from '../../../common/authz/address.ts'
import { matchesText } from '../../../common/authz/text-match.ts'
import type {
  Condition,
  Operation,
  Rule,
  Source,
  StringMatch,
  Term,
} from '../../../common/policy-set.ts'

export function coversRule(wide: Rule, narrow: Rule): boolean {
  return (
    coversAlternatives(wide.from, narrow.from, coversSource) &&
    coversAlternatives(wide.to, narrow.to, coversOperation) &&
    wide.when.every((w) => narrow.when.some((n) => coversCondition(w, n)))
  )
}

/** No alternatives at all mean everything. */
function coversAlternatives<T>(
  wide: readonly T[],
  narrow: readonly T[],
  covers: (wide: T, narrow: T) => boolean,
): boolean {
  if (wide.length === 0) return true
  return narrow.length > 0 && narrow.every((n) => wide.some((w) => covers(w, n)))
}

function coversSource(wide: Source, narrow: Source): boolean {
  return (
    coversTerm(wide.principals, narrow.principals, coversText) &&
    coversTerm(wide.namespaces, narrow.namespaces, coversText) &&
    coversTerm(wide.ipBlocks, narrow.ipBlocks, coversBlock)
  )
}

function coversOperation(wide: Operation, narrow: Operation): boolean {
  return (
    coversTerm(wide.hosts, narrow.hosts, coversText) &&
    coversTerm(wide.ports, narrow.ports, isSame) &&
    coversTerm(wide.methods, narrow.methods, coversText) &&
    coversTerm(wide.paths, narrow.paths, coversText)
  )
}

function coversCondition(wide: Condition, narrow: Condition): boolean {
  if (JSON.stringify(wide.key) !== JSON.stringify(narrow.key)) return false
  if ('blocks' in wide) {
    return 'blocks' in narrow && coversTerm(wide.blocks, narrow.blocks, coversBlock)
  }
  return 'values' in narrow && coversTerm(wide.values, narrow.values, coversText)
}

/** What the wide term excludes the narrow one must exclude too. */
function coversTerm<T>(
  wide: Term<T>,
  narrow: Term<T>,
  covers: (wide: T, narrow: T) => boolean,
): boolean {
  const isAllIn = wide.is.length === 0 || (narrow.is.length > 0 && narrow.is.every(isIn))
  return isAllIn && wide.not.every((w) => narrow.not.some((n) => covers(n, w)))

  function isIn(n: T): boolean {
    return wide.is.some((w) => covers(w, n))
  }
}

/** Whether each text that `narrow` matches is matched by `wide`. */
export function coversText(wide: StringMatch, narrow: StringMatch): boolean {
  if (wide.kind === 'present') return true
  switch (narrow.kind) {
    case 'exact':
      return matchesText(wide, narrow.value)
    case 'prefix':
      return wide.kind === 'prefix' && narrow.value.startsWith(wide.value)
    case 'suffix':
      return wide.kind === 'suffix' && narrow.value.endsWith(wide.value)
    case 'present':
      return false
    case 'template':
      return wide.kind === 'template' && JSON.stringify(wide) === JSON.stringify(narrow)
  }
}

function coversBlock(wide: string, narrow: string): boolean {
  const [w, n] = [parseCidr(wide), parseCidr(narrow)]
  return w !== undefined && n !== undefined && w.bits <= n.bits && isInBlock(n, w)
}

function isSame<T>(a: T, b: T): boolean {
  return a === b
}
