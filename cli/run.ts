/**
 * `postern controller` and `postern sidecar`: hand the rest of the command line to the program, whose own config.ts
 * parses it (one table of options a program, STYLE §7). Programs are imported only when they are run.
 */
import type { Command } from 'commander'

type Main = (argv: readonly string[], env: NodeJS.ProcessEnv) => Promise<void>

function addProgram(
  program: Command,
  name: string,
  summary: string,
  load: () => Promise<Main>,
): void {
  program
    .command(name)
    .description(summary)
    .allowUnknownOption()
    .allowExcessArguments()
    .helpOption(false)
    .argument('[options...]')
    .action(async (_options, _flags, command: Command) => {
      const main = await load()
      await main(command.args, process.env)
    })
}

export function addRun(program: Command): void {
  addProgram(
    program,
    'controller',
    'run the controller (see `postern controller --help`)',
    async () => {
      const { runController } = await import('../controller/main.ts')
      return runController
    },
  )
  addProgram(
    program,
    'sidecar',
    'run a sidecar with its Envoy (see `postern sidecar --help`)',
    async () => {
      const { runSidecar } = await import('../sidecar/main.ts')
      return runSidecar
    },
  )
}
