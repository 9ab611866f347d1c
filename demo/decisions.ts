/**
 * Looks a decision up in a sidecar's decision log by its id: what a user does who asks "which policy denied me?".
 */
import { existsSync, readFileSync } from 'node:fs'
import type { DecisionRecord } from '../common/decision.ts'

/** All records of a decision log, oldest first; half a last line is left out. */
export function readDecisions(file: string): DecisionRecord[] {
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.slice(0, -1).map((line) => JSON.parse(line) as DecisionRecord)
}

/** `namespace/policy/rules[i], RBAC`, or `namespace/policy, WASM`. */
export function describeDecision(record: DecisionRecord): string {
  const { lane, policy, rule, reason } = record.postern
  const by = rule ?? policy
  const why = record.error === undefined ? '' : ` (${reason})`
  return `${by}${why}, ${lane === 'rbac' ? 'RBAC' : 'WASM'}`
}
