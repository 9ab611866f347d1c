/**
 * `postern proxy config SECTION POD`: what the proxy's Envoy really has, by its own word, not what the controller meant.
 * Keys and secrets stay in the sidecar: of a certificate come names, serial number and times.
 */
import type { Command } from 'commander'
import { MeshError } from '../../common/errors.ts'
import type { PolicySet } from '../../common/policy-set.ts'
import { askController } from '../admin-client.ts'
import { checkOutput, formatStructured } from '../output/format.ts'
import { print } from '../output/print.ts'
import { formatTable } from '../output/table.ts'
import { stateOption } from '../state.ts'
import { toWorkloadName } from '../workload-name.ts'
import { formatEnvoySection, type Json } from './envoy-tables.ts'

const SECTIONS = ['listeners', 'routes', 'clusters', 'endpoints', 'secrets', 'policies', 'all']

interface ActivePolicies {
  readonly revision: string
  readonly set: PolicySet | null
  readonly rbac: readonly {
    readonly name: string
    readonly version: string
    readonly actions: readonly { readonly name: string; readonly action: string }[]
  }[]
}

/** The policy set that answers in the sidecar, and the names of what Envoy decides by itself. */
export function formatPolicies({ revision, set, rbac }: ActivePolicies): string {
  const rows = (set?.policies ?? []).map((p) => [
    p.action,
    `${p.namespace}/${p.name}`,
    p.mode,
    p.required ? 'yes' : 'no',
    p.rules === undefined ? '-' : String(p.rules.length),
    p.rego === undefined ? '-' : `${p.rego.entrypoint} ${p.rego.wasmDigest.slice(0, 8)}`,
  ])
  const head: [string, string][] = [
    ['Bundle:', revision || 'none: the sidecar denies whatever it is asked'],
    ['Default:', set === null ? '-' : `${set.defaultAction} (${set.defaultMode})`],
  ]
  const trees = rbac.flatMap((tree) =>
    tree.actions.map((a, i) => [
      i === 0 ? tree.name : '',
      i === 0 ? tree.version : '',
      a.action,
      a.name,
    ]),
  )
  return [
    formatTable(head),
    formatTable([['ACTION', 'POLICY', 'MODE', 'REQUIRED', 'RULES', 'REGO'], ...rows]),
    formatTable([['RBAC TREE', 'VERSION', 'ACTION', 'NAME'], ...trees]),
  ].join('\n')
}

function formatSection(section: string, content: unknown): string {
  return section === 'policies'
    ? formatPolicies(content as ActivePolicies)
    : formatEnvoySection(section, content as readonly Json[])
}

function formatAll(answer: Readonly<Record<string, unknown>>): string {
  return Object.entries(answer)
    .filter(([section]) => SECTIONS.includes(section))
    .map(([section, content]) => `${section}\n${formatSection(section, content)}`)
    .join('\n')
}

export function addProxyConfig(proxy: Command): void {
  stateOption(proxy.command('config'))
    .description('what the proxy’s Envoy really has, without keys and secrets')
    .argument('<section>', SECTIONS.join('|'))
    .argument('<pod>', 'NAME, or NAMESPACE/NAME')
    .option('-n, --namespace <namespace>', 'namespace of a NAME', 'default')
    .option('-o, --output <format>', 'table|yaml|json', 'table')
    .action(
      async (
        section: string,
        pod: string,
        options: { state: string; namespace: string; output: string },
      ) => {
        checkOutput(options.output)
        if (!SECTIONS.includes(section)) {
          throw new MeshError('ERR_CONFIG', `${section} is none of ${SECTIONS.join(', ')}`)
        }
        const workload = toWorkloadName(pod, options.namespace)
        const answer = await askController(options.state, 'GET', `/config/${workload}/${section}`)
        if (answer === undefined) {
          const message = `there is no workload ${workload}; \`postern proxy status\` lists all`
          throw new MeshError('ERR_NOT_FOUND', message)
        }
        const all = answer as Readonly<Record<string, unknown>>
        const whole = section === 'all' ? all : all[section]
        const text = section === 'all' ? () => formatAll(all) : () => formatSection(section, whole)
        print(formatStructured(options.output, whole) ?? text())
      },
    )
}
