/**
 * `postern explain decision ID`: who called whom, what came of it and by whose word, and why the other policies did not
 * decide. The record comes from the sidecar that decided, by way of the controller; with --decision-log from files.
 * Exit code: 0 allowed, 3 denied; 1 when nobody has the record.
 */
import type { Command } from 'commander'
import { tracePolicies } from '../../common/authz/trace.ts'
import { unpackBundle } from '../../common/bundle.ts'
import type { DecisionRecord } from '../../common/decision.ts'
import { MeshError } from '../../common/errors.ts'
import { askController } from '../admin-client.ts'
import { DENIED, ExitWith } from '../exit.ts'
import { checkOutput, formatStructured } from '../output/format.ts'
import { print } from '../output/print.ts'
import { stateOption } from '../state.ts'
import type { Grounds, Version } from './asked.ts'
import { outcomesOf, toAttributes } from './decision-facts.ts'
import type { ExplainedDecision } from './decision-text.ts'
import { formatDecision } from './decision-text.ts'
import { findInFiles } from './log-file.ts'

interface Options {
  readonly state: string
  readonly output: string
  readonly decisionLog?: readonly string[]
}

/** As the admin API gives it (controller/views.ts). */
interface Search {
  readonly record: DecisionRecord | null
  readonly asked?: number
  readonly limits?: readonly { readonly nodeId: string; readonly limit: string }[]
}

async function askForRecord(id: string, state: string): Promise<DecisionRecord> {
  const path = `/decisions/${encodeURIComponent(id)}`
  const search = (await askController(state, 'GET', path)) as Search
  if (search.record !== null) return search.record
  const { asked = 0, limits = [] } = search
  const unsure = limits.map(({ nodeId, limit }) => `; ${nodeId}: ${limit}`).join('')
  throw new MeshError(
    'ERR_NOT_FOUND',
    `none of ${asked} connected sidecars has decision ${id}${unsure}; what Envoy decides is in the log within a second, and --decision-log FILE reads a log that was put away`,
  )
}

/** What the controller knows of the workload that decided; undefined: it has none of that name any more. */
async function fetchGrounds(record: DecisionRecord, state: string): Promise<Grounds | undefined> {
  const { namespace, workload } = record.labels
  return (await askController(state, 'GET', `/grounds/${namespace}/${workload}`)) as
    | Grounds
    | undefined
}

function versionOf(record: DecisionRecord, grounds: Grounds | undefined): Version | undefined {
  const revision = record.bundles.postern?.revision
  return grounds?.versions.find((v) => v.revision === revision)
}

/** The record with the policies of the very set that decided, if it is still to be had. */
export async function explainDecision(
  record: DecisionRecord,
  grounds: Grounds | undefined,
): Promise<ExplainedDecision> {
  const version = versionOf(record, grounds)
  if (version === undefined) return { record, locations: grounds?.locations ?? {} }
  const { set } = await unpackBundle(Buffer.from(version.archive, 'base64'))
  const attributes = toAttributes(record, portOf(record, version))
  const policies = tracePolicies(set, attributes, {
    policy: record.postern.policy,
    outcomes: outcomesOf(record),
  })
  const { generation } = version
  return { record, policies, generation, locations: grounds?.locations ?? {} }
}

/** The port that was called. A decision of Envoy's does not name it: then the first one of that protocol. */
function portOf({ input, postern }: DecisionRecord, { inbound }: Version): number {
  const isTcp = postern.path === undefined
  const likely = inbound.find((p) => (p.protocol === 'TCP') === isTcp)
  const { attributes } = (input ?? {}) as {
    attributes?: { destination?: { address?: { socketAddress?: { portValue?: number } } } }
  }
  return attributes?.destination?.address?.socketAddress?.portValue ?? likely?.port ?? 0
}

async function run(id: string, options: Options): Promise<void> {
  checkOutput(options.output)
  const files = options.decisionLog ?? []
  const record =
    files.length > 0 ? await findInFiles(files, id) : await askForRecord(id, options.state)
  const grounds = files.length > 0 ? undefined : await fetchGrounds(record, options.state)
  const explained = await explainDecision(record, grounds)
  print(formatStructured(options.output, explained) ?? formatDecision(explained))
  if (!record.postern.allowed) throw new ExitWith(DENIED)
}

export function addExplainDecision(explainCommand: Command): void {
  stateOption(explainCommand.command('decision'))
    .description('who decided, by which policy and rule, and why the others did not')
    .argument('<id>', 'the decision id: header x-postern-decision-id of the answer')
    .option('--decision-log <file...>', 'look into these files instead of asking the sidecars')
    .option('-o, --output <format>', 'table|yaml|json', 'table')
    .addHelpText(
      'after',
      '\nExit code: 0 it was allowed, 3 denied, 1 no record, 2 a wrong command line.',
    )
    .action(run)
}
