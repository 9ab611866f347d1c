/**
 * `postern get KIND [NAME]`: objects with their status, as a table, YAML or JSON.
 * `postern get problems` lists every mistake in the manifests, also those that belong to no object.
 */
import type { Command } from 'commander'
import { formatRef, MeshError, type Problem } from '../common/errors.ts'
import { KINDS, type KindInfo, type PrinterColumn } from '../controller/core/crd/index.ts'
import { askController } from './admin-client.ts'
import { apiPath, findKind, listKinds, placeOf } from './kinds.ts'
import type { ApiList, ApiObject } from './objects.ts'
import { print } from './output/print.ts'
import { formatCell, formatTable } from './output/table.ts'
import { formatYaml } from './output/yaml.ts'
import { stateOption } from './state.ts'

export interface GetOptions {
  readonly state: string
  readonly namespace: string
  readonly allNamespaces?: boolean
  readonly output?: string
}

const OUTPUTS = ['wide', 'yaml', 'json', 'name']

/** Columns as the API server would print them: name, the CRD's own, age; `wide` adds those of priority > 0. */
export function columnsOf(kind: KindInfo, withNamespace: boolean, wide: boolean): PrinterColumn[] {
  const own = kind.printerColumns.filter((c) => wide || (c.priority ?? 0) === 0)
  const namespace: PrinterColumn = {
    name: 'Namespace',
    type: 'string',
    jsonPath: '.metadata.namespace',
  }
  const name: PrinterColumn = { name: 'Name', type: 'string', jsonPath: '.metadata.name' }
  const age: PrinterColumn = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }
  const rest = own.some((c) => c.name === 'Age') ? own : [...own, age]
  return [...(withNamespace ? [namespace] : []), name, ...rest]
}

export function formatObjects(
  kind: KindInfo,
  objects: readonly ApiObject[],
  options: { readonly withNamespace: boolean; readonly wide: boolean; readonly nowMs: number },
): string {
  const columns = columnsOf(kind, options.withNamespace && kind.namespaced, options.wide)
  const heading = columns.map((c) => c.name.toUpperCase())
  const rows = objects.map((o) => columns.map((c) => formatCell(c, o, options.nowMs)))
  return formatTable([heading, ...rows])
}

export function formatProblems(problems: readonly Problem[]): string {
  const rows = problems.map((p) => [
    p.source === undefined
      ? ''
      : `${p.source.file}${p.source.line === undefined ? '' : `:${p.source.line}`}`,
    p.object === undefined ? '' : formatRef(p.object),
    p.field,
    p.code,
    `${p.message}; ${p.remedy}`,
  ])
  return formatTable([['FILE', 'OBJECT', 'FIELD', 'CODE', 'MESSAGE'], ...rows])
}

async function getProblems(options: GetOptions): Promise<string> {
  const { items } = (await askController(options.state, 'GET', '/problems')) as {
    items: readonly Problem[]
  }
  if (options.output === 'json') return `${JSON.stringify(items, null, 2)}\n`
  if (options.output === 'yaml') return formatYaml(items)
  return items.length === 0 ? 'no problems\n' : formatProblems(items)
}

async function fetchObjects(
  kind: KindInfo,
  name: string | undefined,
  options: GetOptions,
): Promise<ApiObject[]> {
  const namespace = options.allNamespaces === true ? undefined : options.namespace
  const answer = await askController(options.state, 'GET', apiPath(kind, namespace, name))
  if (name === undefined) return [...((answer as ApiList | undefined)?.items ?? [])]
  if (answer !== undefined) return [answer as ApiObject]
  throw new MeshError(
    'ERR_NOT_FOUND',
    `there is no ${kind.kind} ${name}${placeOf(kind, options.namespace)}; \`postern get ${kind.plural} -A\` lists all`,
  )
}

/** Objects of every kind, a table for each that has some. */
async function getAll(name: string | undefined, options: GetOptions): Promise<string> {
  if (name !== undefined) throw new MeshError('ERR_CONFIG', 'all objects have no one name')
  const found = await Promise.all(
    KINDS.map(async (kind) => ({ kind, objects: await fetchObjects(kind, undefined, options) })),
  )
  const items = found.flatMap(({ objects }) => objects)
  const whole = { apiVersion: 'v1', kind: 'List', items }
  if (options.output === 'json') return `${JSON.stringify(whole, null, 2)}\n`
  if (options.output === 'yaml') return formatYaml(whole)
  const some = found.filter(({ objects }) => objects.length > 0)
  if (some.length === 0) return 'no objects found; -A shows all namespaces\n'
  if (options.output === 'name') return some.map(formatNames).join('')
  const show = {
    withNamespace: options.allNamespaces === true,
    wide: options.output === 'wide',
    nowMs: Date.now(),
  }
  return some
    .map(({ kind, objects }) => `${kind.plural}\n${formatObjects(kind, objects, show)}`)
    .join('\n')
}

interface Found {
  readonly kind: KindInfo
  readonly objects: readonly ApiObject[]
}

function formatNames({ kind, objects }: Found): string {
  return objects.map((o) => `${kind.singular}.postern.dev/${o.metadata.name}\n`).join('')
}

async function get(
  kindText: string,
  name: string | undefined,
  options: GetOptions,
): Promise<string> {
  if (options.output !== undefined && !OUTPUTS.includes(options.output)) {
    throw new MeshError('ERR_CONFIG', `-o ${options.output} is none of ${OUTPUTS.join(', ')}`)
  }
  if (kindText === 'problems') return await getProblems(options)
  if (kindText === 'all') return await getAll(name, options)
  const kind = findKind(kindText)
  if (name !== undefined && options.allNamespaces === true) {
    throw new MeshError(
      'ERR_CONFIG',
      'a name and -A do not go together; name the namespace with -n',
    )
  }
  const objects = await fetchObjects(kind, name, options)
  const whole = name === undefined ? { apiVersion: 'v1', kind: 'List', items: objects } : objects[0]
  if (options.output === 'json') return `${JSON.stringify(whole, null, 2)}\n`
  if (options.output === 'yaml') return formatYaml(whole)
  if (options.output === 'name') return formatNames({ kind, objects })
  if (objects.length === 0) {
    const isOneNamespace = kind.namespaced && options.allNamespaces !== true
    const place = isOneNamespace
      ? ` in namespace ${options.namespace}; -A shows all namespaces`
      : ''
    return `no ${kind.plural} found${place}\n`
  }
  return formatObjects(kind, objects, {
    withNamespace: options.allNamespaces === true,
    wide: options.output === 'wide',
    nowMs: Date.now(),
  })
}

export function addGet(program: Command): void {
  stateOption(program.command('get'))
    .description('show objects with their status; `problems` or `all` of them')
    .argument('<kind>', `problems, all, or a kind, also by short name: ${listKinds()}`)
    .argument('[name]', 'only this object')
    .option('-n, --namespace <namespace>', 'namespace', 'default')
    .option('-A, --all-namespaces', 'objects of all namespaces')
    .option('-o, --output <format>', OUTPUTS.join('|'))
    .action(async (kind: string, name: string | undefined, options: GetOptions) => {
      print(await get(kind, name, options))
    })
}
