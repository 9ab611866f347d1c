/**
 * `postern explain policy NAME`: which way each of its rules goes (Envoy's RBAC, or the sidecar) and why, on each workload
 * that has it; `-o rego`: its rules as Rego.
 */
import type { Command } from 'commander'
import { MeshError } from '../../common/errors.ts'
import type { LanePlan, RulePlan } from '../../controller/core/lanes/plan.ts'
import { askController } from '../admin-client.ts'
import { checkOutput, formatStructured } from '../output/format.ts'
import { print } from '../output/print.ts'
import { formatTable } from '../output/table.ts'
import { stateOption } from '../state.ts'
import { toWorkloadName } from '../workload-name.ts'

/** As the admin API gives it (controller/runtime/lanes-view.ts). */
export interface PolicyLanes {
  readonly policy: string
  readonly workloads: readonly {
    readonly workload: string
    readonly mode: LanePlan['mode']
    readonly readsBody: boolean
    readonly rules: readonly RulePlan[]
  }[]
  readonly rego?: string
}

const LANES = { rbac: 'RBAC (Envoy)', ext_authz: 'WASM (sidecar)' } as const

export function formatLanes({ policy, workloads }: PolicyLanes): string {
  const rows = workloads.flatMap(({ workload, rules }) =>
    rules.map((r, i) => [i === 0 ? workload : '', r.id, LANES[r.lane], r.reason]),
  )
  const mixed = workloads.filter((w) => w.mode === 'mixed').map((w) => w.workload)
  const bodies = workloads.filter((w) => w.readsBody).map((w) => w.workload)
  return [
    `Policy ${policy}\n\n`,
    formatTable([['WORKLOAD', 'RULE', 'LANE', 'WHY'], ...rows]),
    ...(mixed.length === 0
      ? []
      : [`\nThe sidecar is asked where Envoy’s rules leave it open: ${mixed.join(', ')}\n`]),
    ...(bodies.length === 0 ? [] : [`Envoy buffers bodies for Rego: ${bodies.join(', ')}\n`]),
  ].join('')
}

async function explainPolicy(
  name: string,
  options: { state: string; namespace: string; output: string },
): Promise<void> {
  if (options.output !== 'rego') checkOutput(options.output)
  const policy = toWorkloadName(name, options.namespace)
  const answer = await askController(options.state, 'GET', `/lanes/${policy}`)
  const lanes = answer as PolicyLanes
  if (lanes.workloads.length === 0) {
    const message = `no workload has the policy ${policy}; \`postern describe authorizationpolicy\` says why`
    throw new MeshError('ERR_NOT_FOUND', message)
  }
  if (options.output === 'rego') print(lanes.rego ?? '')
  else print(formatStructured(options.output, lanes) ?? formatLanes(lanes))
}

export function addExplainPolicy(explainCommand: Command): void {
  stateOption(explainCommand.command('policy'))
    .description('which way each rule of a policy goes, and why')
    .argument('<name>', 'NAME, or NAMESPACE/NAME')
    .option('-n, --namespace <namespace>', 'namespace of a NAME', 'default')
    .option('-o, --output <format>', 'table|yaml|json|rego', 'table')
    .action(explainPolicy)
}
