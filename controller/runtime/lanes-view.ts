/** Which way each rule of a policy goes, on each workload that has it, and its rules as Rego: `postern explain policy`. */
import { policyId } from '../../common/policy-set.ts'
import { type LanePlan, planLanes, type RulePlan } from '../core/lanes/plan.ts'
import { toRego } from '../core/lanes/to-rego.ts'
import type { History } from './history.ts'

export interface PolicyLanes {
  readonly policy: string
  readonly workloads: readonly {
    readonly workload: string
    /** Of the whole set: `rbac` never asks the sidecar, `mixed` does where it must. */
    readonly mode: LanePlan['mode']
    readonly readsBody: boolean
    readonly rules: readonly RulePlan[]
  }[]
  /** The rules as Rego V1, for readers; absent: no workload has it. */
  readonly rego?: string
}

export function toLanes(history: History, policy: string): PolicyLanes {
  let rego: string | undefined
  const workloads = [...history.nodes()].sort().flatMap((nodeId) => {
    const set = history.newest(nodeId)?.workload.policySet
    const own = set?.policies.find((p) => policyId(p) === policy)
    if (set === undefined || own === undefined) return []
    rego ??= toRego({ ...set, policies: [own] })
    const { mode, readsBody, rules } = planLanes(set)
    const { workload } = set
    return [{ workload, mode, readsBody, rules: rules.filter((r) => r.policy === policy) }]
  })
  return { policy, workloads, ...(rego === undefined ? {} : { rego }) }
}
