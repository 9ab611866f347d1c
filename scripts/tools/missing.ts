/**
 * A prerequisite of the machine that is not there: one clear sentence for a person, and no stack trace.
 * In: what is missing and how it is had. Out: an error that every script prints as its message alone.
 */
export class Missing extends Error {
  override readonly name = 'Missing'
}

/** Runs a script's main; a `Missing` or a failed command ends the process with its message and exit code 1. */
export async function runMain(main: () => Promise<void>): Promise<void> {
  try {
    await main()
  } catch (error) {
    const plain = error instanceof Missing || (error instanceof Error && error.name === 'RunError')
    process.stderr.write(`${plain ? (error as Error).message : (error as Error).stack}\n`)
    process.exitCode = 1
  }
}
