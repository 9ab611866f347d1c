/**
 * Child processes of the demo and the drills: started with their output in a file, waited for by what they say
 * (a line, an HTTP answer), ended by their pid. Nothing here outlives its parent's `stop()`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'

export interface Child {
  readonly name: string
  readonly pid: number
  readonly logFile: string
  /** Resolves with how it ended. */
  readonly ended: Promise<string>
  isRunning(): boolean
  kill(signal: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL after `graceMs`. */
  stop(graceMs?: number): Promise<void>
}

export interface StartOptions {
  readonly name: string
  /** Default: this Node. */
  readonly command?: string
  readonly args: readonly string[]
  readonly logFile: string
  readonly env?: Readonly<Record<string, string>>
}

/**
 * Starts this Node with `args`; stdout and stderr are appended to `logFile`.
 * It gets SIGTERM when this process dies, however that happens: prctl(2), PR_SET_PDEATHSIG.
 */
export function startNode(options: StartOptions): Child {
  const log = openSync(options.logFile, 'a', 0o600)
  const child: ChildProcess = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', '--', options.command ?? process.execPath, ...options.args],
    {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...options.env },
    },
  )
  closeSync(log)
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(String(error)))
    child.on('exit', (code, signal) => resolve(signal ?? `code ${code}`))
  })
  const isRunning = () => child.exitCode === null && child.signalCode === null
  return {
    name: options.name,
    pid: child.pid ?? -1,
    logFile: options.logFile,
    ended,
    isRunning,
    kill: (signal) => child.kill(signal),
    async stop(graceMs = 5000) {
      if (!isRunning()) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await ended
      clearTimeout(timer)
    },
  }
}

/** GET over loopback; the status, or undefined when nothing answers. */
export function probe(port: number, path: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = http.get(
      { host: '127.0.0.1', port, path, agent: false, timeout: 1000 },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode))
      },
    )
    request.on('timeout', () => request.destroy())
    request.on('error', () => resolve(undefined))
  })
}

/** Whether no program listens on the port of 127.0.0.1, whatever it speaks. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.on('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** What a child wrote last: the reason why it ended. Its log file goes with the work folder. */
function lastLine(logFile: string): string {
  return readFileSync(logFile, 'utf8').trimEnd().split('\n').at(-1) ?? ''
}

/** How often a condition is looked at that nobody announces. */
const LOOK_EVERY_MS = 20

/** Waits until `condition` is true. Errors: names what was waited for, and how `child` ended when it did. */
export async function waitFor(
  what: string,
  condition: () => boolean | Promise<boolean>,
  options: { readonly timeoutMs: number; readonly child?: Child },
): Promise<void> {
  const end = performance.now() + options.timeoutMs
  while (!(await condition())) {
    if (options.child !== undefined && !options.child.isRunning()) {
      throw new Error(
        `${options.child.name} ended (${await options.child.ended}) before ${what}: ${lastLine(options.child.logFile)}`,
      )
    }
    if (performance.now() > end) throw new Error(`timed out after ${options.timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
}
