/**
 * `postern inject -f FILE|-` and `postern uninject -f FILE|-`: manifests in, the same with Postern's sidecars (or without)
 * on stdout, what was done on stderr. Nothing is asked of a cluster, and nothing is written when a pod is refused.
 */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { stringify } from 'yaml'
import { MeshError } from '../common/errors.ts'
import { readDocuments } from '../controller/core/crd/yaml-document.ts'
import {
  injectManifest,
  type Manifest,
  type Report,
  uninjectManifest,
} from '../controller/core/inject/manifest.ts'
import {
  defaultSettings,
  type InjectionSettings,
  readSettings,
} from '../controller/core/inject/settings.ts'
import { ExitWith } from './exit.ts'
import { print } from './output/print.ts'
import { toPrintable } from './output/printable.ts'
import { VERSION } from './version.ts'

const STDIN = 0

interface Options {
  readonly file: string
  readonly settings?: string
  readonly revision?: string
}

/** Documents of a file, each as a value, read as kubectl reads them. Errors: ERR_CONFIG. */
export function readObjects(name: string, text: string): readonly unknown[] {
  return readDocuments(text).map((document) => {
    if (document.ok) return document.value
    const { line, column } = document.at
    throw new MeshError('ERR_CONFIG', `${name}:${line}:${column}: ${document.message}`)
  })
}

/** `left: Pod shop/web: it opts out`, a line each. */
export function formatReports(reports: readonly Report[]): string {
  return reports
    .flatMap(({ object, outcome, notes, refusals }) => [
      `${[`${outcome}: ${object}`, ...notes].join(': ')}\n`,
      ...refusals.map(({ field, message, remedy }) => `  ${field}: ${message}; ${remedy}\n`),
    ])
    .join('')
}

export function addInject(program: Command): void {
  program
    .command('inject')
    .description('put the sidecar into the pods of manifests, as the webhook does in a cluster')
    .requiredOption('-f, --file <path>', 'a file of manifests; - is stdin')
    .option('--settings <path>', 'settings of injection, YAML or JSON, as the chart writes them')
    .option('--revision <name>', 'value of the label postern.dev/rev')
    .addHelpText('after', '\nExit code: 0 done, 1 a pod was refused, 2 a wrong command line.')
    .action((options: Options) => {
      const settings = settingsOf(options)
      write(options.file, (value) => injectManifest(value, settings))
    })
  program
    .command('uninject')
    .description('take the sidecar out of the pods of manifests')
    .requiredOption('-f, --file <path>', 'a file of manifests; - is stdin')
    .action((options: Options) => write(options.file, uninjectManifest))
}

function write(file: string, change: (value: unknown) => Manifest): void {
  const changed = readObjects(file, readText('-f', file)).map(change)
  const reports = changed.flatMap((one) => one.reports)
  process.stderr.write(toPrintable(formatReports(reports)))
  if (reports.some(({ outcome }) => outcome === 'refused')) throw new ExitWith(1)
  print(changed.map(({ value }) => formatObject(value)).join('---\n'))
}

/** As kubectl reads it back: text that YAML 1.1 takes for a boolean or a number stays text. */
function formatObject(value: unknown): string {
  return stringify(value, { version: '1.1', lineWidth: 0, blockQuote: 'literal' })
}

function settingsOf({ settings, revision }: Options): InjectionSettings {
  const given =
    settings === undefined ? [{}] : readObjects(settings, readText('--settings', settings))
  const own = { ...(given[0] as object), ...(revision === undefined ? {} : { revision }) }
  const read = readSettings(own, defaultSettings(VERSION))
  if ('settings' in read) return read.settings
  throw new MeshError('ERR_CONFIG', read.mistakes.join('\n'))
}

function readText(flag: string, path: string): string {
  try {
    return readFileSync(path === '-' ? STDIN : path, 'utf8')
  } catch (cause) {
    throw new MeshError('ERR_CONFIG', `${flag} ${path} can't be read`, { cause })
  }
}
