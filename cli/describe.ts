/** `postern describe KIND NAME`: one object in full, its conditions as a table and what to do about each problem. */
import type { Command } from 'commander'
import type { Problem } from '../common/errors.ts'
import { formatProblem, MeshError } from '../common/errors.ts'
import { askController } from './admin-client.ts'
import { apiPath, findKind, placeOf } from './kinds.ts'
import type { ApiObject } from './objects.ts'
import { print } from './output/print.ts'
import { toPrintableLine } from './output/printable.ts'
import { formatTable } from './output/table.ts'
import { formatYaml } from './output/yaml.ts'
import { stateOption } from './state.ts'

function indent(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line}\n`)
    .join('')
}

/** A line each, whatever a problem quotes. */
function formatProblems(problems: readonly Problem[]): string {
  return indent(problems.map((p) => toPrintableLine(formatProblem(p))).join('\n'))
}

function formatLabels(labels: Readonly<Record<string, string>> | undefined): string {
  const pairs = Object.entries(labels ?? {}).map(([k, v]) => `${k}=${v}`)
  return pairs.length === 0 ? '<none>' : pairs.join(', ')
}

/** The text of `describe`; problems are those of this object only. */
export function formatDescription(object: ApiObject, problems: readonly Problem[]): string {
  const { metadata, status } = object
  const head = [
    ['Name:', metadata.name],
    ...(metadata.namespace === undefined ? [] : [['Namespace:', metadata.namespace]]),
    ['Labels:', formatLabels(metadata.labels)],
    ['Kind:', `${object.kind} (${object.apiVersion})`],
    [
      'Generation:',
      `${metadata.generation ?? ''}, observed ${status?.observedGeneration ?? 'none'}`,
    ],
  ]
  const conditions = (status?.conditions ?? []).map((c) => [
    c.type,
    c.status,
    c.reason ?? '',
    c.message ?? '',
  ])
  const { conditions: _conditions, observedGeneration: _observed, ...rest } = status ?? {}
  return [
    formatTable(head),
    'Spec:\n',
    indent(formatYaml(object.spec ?? {})),
    ...(Object.keys(rest).length === 0 ? [] : ['Status:\n', indent(formatYaml(rest))]),
    'Conditions:\n',
    conditions.length === 0
      ? '  <none>\n'
      : indent(formatTable([['TYPE', 'STATUS', 'REASON', 'MESSAGE'], ...conditions])),
    'Problems:\n',
    problems.length === 0 ? '  <none>\n' : formatProblems(problems),
  ].join('')
}

export function addDescribe(program: Command): void {
  stateOption(program.command('describe'))
    .description('show one object in full, with its conditions and problems')
    .argument('<kind>')
    .argument('<name>')
    .option('-n, --namespace <namespace>', 'namespace', 'default')
    .action(
      async (kindText: string, name: string, options: { state: string; namespace: string }) => {
        const kind = findKind(kindText)
        const object = await askController(
          options.state,
          'GET',
          apiPath(kind, options.namespace, name),
        )
        const all = (await askController(options.state, 'GET', '/problems')) as {
          items: readonly Problem[]
        }
        const problems = all.items.filter(
          (p) =>
            p.object !== undefined &&
            p.object.kind === kind.kind &&
            p.object.name === name &&
            (!kind.namespaced || (p.object.namespace ?? 'default') === options.namespace),
        )
        if (object === undefined && problems.length === 0) {
          throw new MeshError(
            'ERR_NOT_FOUND',
            `there is no ${kind.kind} ${name}${placeOf(kind, options.namespace)}; \`postern get ${kind.plural} -A\` lists all`,
          )
        }
        print(
          object === undefined
            ? `${kind.kind} ${name} was never accepted:\n${formatProblems(problems)}`
            : formatDescription(object as ApiObject, problems),
        )
      },
    )
}
