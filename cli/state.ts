/** The `--state` option that every verb shares which asks a controller. */
import type { Command } from 'commander'

/** Default: `$POSTERN_STATE`, else `.postern` in the current directory. */
export function stateOption(command: Command): Command {
  return command.option(
    '--state <dir>',
    "the controller's state directory",
    process.env.POSTERN_STATE ?? '.postern',
  )
}
