/**
 * The `postern` command: one verb, one file. In: argv. Out: a program that runs (controller, sidecar) or text on stdout.
 * Exit codes: 0 done, 1 the world said no, 2 the command line is wrong, 3 the answer is a denial.
 */
import { Command, CommanderError } from 'commander'
import { MeshError } from '../common/errors.ts'
import { addAnalyze } from './analyze.ts'
import { addDescribe } from './describe.ts'
import { ExitWith } from './exit.ts'
import { addExplain } from './explain.ts'
import { addGet } from './get.ts'
import { addInject } from './inject.ts'
import { toPrintable } from './output/printable.ts'
import { addProxy } from './proxy.ts'
import { addRun } from './run.ts'
import { addToken } from './token.ts'
import { addVersion, VERSION } from './version.ts'

/** The whole command tree; `exitOverride` makes usage errors throw, so that tests can read them. */
export function buildProgram(): Command {
  const program = new Command('postern')
  program.description(
    'zero-trust mesh and API security: mTLS identities, Envoy over xDS, Rego as WASM',
  )
  program.version(VERSION, '-V, --version')
  program.exitOverride()
  for (const add of [
    addRun,
    addToken,
    addGet,
    addDescribe,
    addProxy,
    addExplain,
    addAnalyze,
    addInject,
    addVersion,
  ])
    add(program)
  return program
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ExitWith) return error.exitCode
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const text = error instanceof MeshError ? `${error.message} [${error.code}]` : String(error)
  process.stderr.write(toPrintable(`error: ${text}\n`))
  return error instanceof MeshError && error.code === 'ERR_CONFIG' ? 2 : 1
}

/** Runs argv (without node and script) and resolves with the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync([...argv], { from: 'user' })
    return 0
  } catch (error) {
    return exitCodeOf(error)
  }
}

if (import.meta.main) {
  process.exitCode = await run(process.argv.slice(2))
}
