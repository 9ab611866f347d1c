/**
 * Runs the `opa` binary. In: arguments (never through a shell) and a working directory. Out: exit code and what it
 * printed. Bounded in time, output and memory; ends with the signal. Never sees the controller's environment.
 */
import { execFile } from 'node:child_process'
import { MeshError } from '../../../common/errors.ts'

export interface OpaRun {
  /** -1: ended by a signal. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Ended by the time limit. */
  readonly timedOut: boolean
}

export interface OpaRunOptions {
  readonly cwd: string
  readonly signal: AbortSignal
  readonly timeoutMs: number
}

/** A syntax tree is some 50 times its text; modules are at most a megabyte together. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** Rejects with ERR_TOOL_MISSING when the binary can't be run, and with the signal's reason when aborted. */
export function runOpa(
  binary: string,
  args: readonly string[],
  options: OpaRunOptions,
): Promise<OpaRun> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      binary,
      [...args],
      {
        cwd: options.cwd,
        env: { HOME: options.cwd, GOMEMLIMIT: '512MiB', GOMAXPROCS: '2' },
        encoding: 'utf8',
        maxBuffer: MAX_OUTPUT_BYTES,
        timeout: options.timeoutMs,
        killSignal: 'SIGKILL',
        signal: options.signal,
        windowsHide: true,
      },
      (error, stdout, stderr) => {
        if (options.signal.aborted) return reject(options.signal.reason)
        if (error === null) return resolve({ code: 0, stdout, stderr, timedOut: false })
        if (child.pid !== undefined) {
          const isTooLong = String(error.code) === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER'
          const code = typeof error.code === 'number' ? error.code : -1
          return resolve({ code, stdout, stderr, timedOut: error.killed === true && !isTooLong })
        }
        reject(
          new MeshError('ERR_TOOL_MISSING', `opa at ${binary} can't be run: ${error.message}`, {
            cause: error,
          }),
        )
      },
    )
    child.stdin?.end()
  })
}
