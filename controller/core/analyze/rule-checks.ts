/**
 * Checks of rules against each other: what another rule makes superfluous, or unreachable. Only policies that decide by
 * their rules alone are compared: Rego can say anything, AUDIT and Shadow decide nothing, `required` is no alternative.
 */
import type { PolicyAction, Rule } from '../../../common/policy-set.ts'
import { coversRule } from './cover.ts'
import type { Estate, Observation, PolicySubject, RuleSubject } from './finding.ts'

export interface RuleObservation extends Observation {
  readonly subject: PolicySubject
}

/** Rules are compared in pairs: a thousand of an action take half a second. Beyond, only equal ones are found. */
const MAX_COMPARED = 2000

export function findDuplicates(estate: Estate): readonly RuleObservation[] {
  return (['ALLOW', 'DENY'] as const).flatMap((action) => {
    const seen = new Map<string, RuleSubject>()
    return plainRules(estate, action).flatMap((rule) => {
      const key = textOf(rule.rule)
      const first = seen.get(key)
      if (first === undefined || !reaches(first, rule)) {
        if (first === undefined) seen.set(key, rule)
        return []
      }
      return [toObservation(rule, `says what ${first.rule.id} says`)]
    })
  })
}

export function findShadowed(estate: Estate): readonly RuleObservation[] {
  return (['ALLOW', 'DENY'] as const).flatMap((action) => {
    const rules = plainRules(estate, action)
    if (rules.length > MAX_COMPARED) return []
    return rules.flatMap((narrow) => {
      const wide = rules.find((w) => w !== narrow && isWiderThan(w, narrow))
      return wide === undefined
        ? []
        : [toObservation(narrow, `matches nothing that ${wide.rule.id} does not match already`)]
    })
  })
}

export function findUnreachable(estate: Estate): readonly RuleObservation[] {
  const denies = plainRules(estate, 'DENY')
  const allows = plainRules(estate, 'ALLOW')
  if (denies.length * allows.length > MAX_COMPARED ** 2) return []
  return allows.flatMap((allow) => {
    const deny = denies.find((d) => reaches(d, allow) && coversRule(d.rule, allow.rule))
    return deny === undefined
      ? []
      : [toObservation(allow, `never allows: ${deny.rule.id} denies all that it matches`)]
  })
}

/** Equal rules are duplicates, and not told twice. */
function isWiderThan(wide: RuleSubject, narrow: RuleSubject): boolean {
  return (
    reaches(wide, narrow) &&
    coversRule(wide.rule, narrow.rule) &&
    textOf(wide.rule) !== textOf(narrow.rule)
  )
}

/** Whether the first policy is wherever the second one is. */
function reaches(first: RuleSubject, second: RuleSubject): boolean {
  if (first.subject === second.subject) return true
  const { workloads } = second.subject
  const reached = new Set(first.subject.workloads)
  return workloads.length > 0 && workloads.every((w) => reached.has(w))
}

function plainRules({ rules }: Estate, action: PolicyAction): readonly RuleSubject[] {
  return rules.filter(({ subject: { policy } }) => {
    const isPlain = policy.mode === 'Enforce' && policy.rego === undefined && !policy.required
    return policy.action === action && isPlain
  })
}

function textOf({ from, to, when }: Rule): string {
  return JSON.stringify([from, to, when])
}

function toObservation({ subject, field }: RuleSubject, message: string): RuleObservation {
  return { subject, field, message }
}
