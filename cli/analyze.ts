/**
 * `postern analyze [-f DIR|FILE…]`: what is wrong in manifests, and what is hardly meant, without a controller.
 * Exit code: 0 no errors, 1 errors (with --strict also warnings), 2 a wrong command line.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { formatRef, MeshError } from '../common/errors.ts'
import { analyze } from '../controller/core/analyze/analyze.ts'
import type { LintFinding, Severity } from '../controller/core/analyze/finding.ts'
import { ExitWith } from './exit.ts'
import { placeText } from './explain/format.ts'
import { checkOutput, formatStructured } from './output/format.ts'
import { print } from './output/print.ts'
import { formatTable } from './output/table.ts'

const MANIFEST = /\.(?:ya?ml|json)$/i
/** As the controller leaves them out. */
const IGNORED = /^[.#]|~$/

interface Options {
  readonly file: readonly string[]
  readonly strict?: boolean
  readonly output: string
}

interface Text {
  readonly path: string
  readonly text: string
}

/** A file as it is; of a directory every manifest below. Errors: ERR_CONFIG. */
export function readTexts(path: string): readonly Text[] {
  try {
    if (!statSync(path).isDirectory()) return [{ path, text: readFileSync(path, 'utf8') }]
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => !IGNORED.test(entry.name))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((entry) => {
        if (entry.isDirectory()) return readTexts(join(path, entry.name))
        return MANIFEST.test(entry.name) ? readTexts(join(path, entry.name)) : []
      })
  } catch (cause) {
    throw new MeshError('ERR_CONFIG', `-f ${path} can't be read`, { cause })
  }
}

export function formatFindings(findings: readonly LintFinding[]): string {
  if (findings.length === 0) return 'nothing found\n'
  const rows = findings.map((f) => [
    f.severity,
    f.source === undefined ? '' : placeText(f.source),
    f.object === undefined ? '' : formatRef(f.object),
    f.field,
    f.code,
    `${f.message}; ${f.remedy}`,
  ])
  const count = (severity: Severity) => findings.filter((f) => f.severity === severity).length
  const summary = `${count('error')} errors, ${count('warning')} warnings, ${count('info')} infos\n`
  const heading = ['SEVERITY', 'FILE', 'OBJECT', 'FIELD', 'CODE', 'MESSAGE']
  return `${formatTable([heading, ...rows])}\n${summary}`
}

export function addAnalyze(program: Command): void {
  program
    .command('analyze')
    .description('find mistakes and oddities in manifests, without a controller')
    .option('-f, --file <path...>', 'files, and directories with all below', ['.'])
    .option('--strict', 'warnings are errors to the exit code')
    .option('-o, --output <format>', 'table|yaml|json', 'table')
    .addHelpText(
      'after',
      '\nExit code: 0 no errors, 1 errors (--strict: or warnings), 2 a wrong command line.',
    )
    .action((options: Options) => {
      checkOutput(options.output)
      const texts = options.file.flatMap(readTexts)
      if (texts.length === 0) {
        const message = `there are no manifests (.yaml, .yml, .json) in ${options.file.join(', ')}`
        throw new MeshError('ERR_CONFIG', message)
      }
      const findings = analyze(texts)
      print(formatStructured(options.output, findings) ?? formatFindings(findings))
      const fails = options.strict === true ? ['error', 'warning'] : ['error']
      if (findings.some((f) => fails.includes(f.severity))) throw new ExitWith(1)
    })
}
