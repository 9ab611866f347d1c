/**
 * Child processes of the scripts: run to the end, keep the output, fail with its tail.
 * In: a command line. Out: stdout; a RunError names the command, its exit and the last lines that it wrote.
 */
import { spawn } from 'node:child_process'

const TAIL_BYTES = 4096

export class RunError extends Error {
  override readonly name = 'RunError'
}

export interface RunOptions {
  readonly cwd?: string
  /** Added to the process's own environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: Uint8Array
}

/** Runs a command to its end and returns its stdout. Throws RunError when it can't start or exits non-zero. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    })
    const stdout: Buffer[] = []
    let tail = ''
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => {
      tail = (tail + chunk.toString()).slice(-TAIL_BYTES)
    })
    child.stdin?.on('error', () => {}) // a child that exits early is told by its exit code
    child.stdin?.end(options.stdin)
    child.on('error', (cause) =>
      reject(new RunError(`${command} can't be started: ${cause.message}`)),
    )
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(stdout))
      const text = tail.trim() || Buffer.concat(stdout).toString().slice(-TAIL_BYTES).trim()
      reject(new RunError(`${[command, ...args].join(' ')}: exit ${code ?? signal}\n${text}`))
    })
  })
}

/** Whether a command can be started at all (`command --version` style probes). */
export async function canRun(command: string, args: readonly string[]): Promise<boolean> {
  try {
    await run(command, args)
    return true
  } catch {
    return false
  }
}
