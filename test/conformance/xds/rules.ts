/** All rules in one numbered table. */
import type { Rule } from './rule.ts'
import { reconnectRules, streamRules } from './stream-rules.ts'
import { subscriptionRules } from './subscription-rules.ts'
import { orderRules, updateRules, verdictRules } from './update-rules.ts'

export interface NumberedRule extends Rule {
  readonly id: string
}

export const SECTIONS: readonly {
  readonly section: string
  readonly rules: readonly NumberedRule[]
}[] = number([
  streamRules,
  subscriptionRules,
  updateRules,
  verdictRules,
  orderRules,
  reconnectRules,
])

export const RULES: readonly NumberedRule[] = SECTIONS.flatMap(({ rules }) => rules)

function number(sections: readonly { section: string; rules: readonly Rule[] }[]): typeof SECTIONS {
  let count = 0
  return sections.map(({ section, rules }) => ({
    section,
    rules: rules.map((rule) => {
      count += 1
      return { ...rule, id: `XDS-${String(count).padStart(2, '0')}` }
    }),
  }))
}
