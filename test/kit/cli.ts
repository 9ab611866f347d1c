/**
 * The command line as a process of its own: what a user types, and what comes back. In the test's process its output
 * would stand among TAP's.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'

const POSTERN = join(import.meta.dirname, '../../cli/main.ts')

export interface CliResult {
  readonly code: number
  /** stdout, then stderr. */
  readonly said: string
}

export function runCli(argv: readonly string[]): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [POSTERN, ...argv], (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code
      if (typeof code === 'number') resolve({ code, said: stdout + stderr })
      else reject(error)
    })
  })
}
