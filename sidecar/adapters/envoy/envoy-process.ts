/**
 * One Envoy process, child of this one: it dies when this process does, however that ends (`setpriv --pdeathsig`).
 * In: the bootstrap's path. Out: log lines, and how it ended. It inherits nothing of our environment but PATH.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { MeshError } from '../../../common/errors.ts'
import { ENVOY_LOG_FORMAT, readLogLine } from '../../core/envoy/log-line.ts'
import type { EnvoyExit, EnvoyLauncher, RunningEnvoy } from '../../runtime/envoy-supervisor.ts'
import type { Log } from '../../runtime/xds-ports.ts'

export interface EnvoyProcessOptions {
  readonly envoyPath: string
  readonly bootstrapPath: string
  /** Worker threads. */
  readonly concurrency: number
  /** How long replaced listeners and filter chains keep their connections. */
  readonly drainSeconds: number
  readonly log: Log
}

/** Last log lines that are kept as the reason of a death. */
const KEPT_LINES = 3
const STOP_GRACE_MS = 2_000
const UTIL_LINUX = [
  ['setpriv', 'Envoy could outlive its sidecar'],
  ['flock', 'two sidecars could use one state directory'],
] as const

/** Throws ERR_TOOL_MISSING, with what to do, unless Envoy can be started here. */
export function checkTools(envoyPath: string, path: string): void {
  if (!isExecutable(envoyPath)) {
    const message = `envoy is not at ${envoyPath}; run \`make tools\`, or pass --envoy PATH or POSTERN_ENVOY`
    throw new MeshError('ERR_TOOL_MISSING', message)
  }
  for (const [tool, purpose] of UTIL_LINUX) {
    if (path.split(delimiter).some((dir) => dir !== '' && isExecutable(join(dir, tool)))) continue
    const message = `${tool} is not on the PATH; install util-linux (without it ${purpose})`
    throw new MeshError('ERR_TOOL_MISSING', message)
  }
}

export class EnvoyProcess implements EnvoyLauncher {
  readonly #options: EnvoyProcessOptions

  constructor(options: EnvoyProcessOptions) {
    this.#options = options
  }

  launch(): RunningEnvoy {
    const { envoyPath, log } = this.#options
    const args = ['--pdeathsig', 'KILL', '--', envoyPath, ...this.#arguments()]
    const child = spawn('setpriv', args, {
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const lastLines: string[] = []
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => {
        const { level, component, message } = readLogLine(line)
        log[level]({ envoyComponent: component, detail: message }, 'envoy says')
        if (level !== 'warn' && level !== 'error') return
        lastLines.push(message)
        if (lastLines.length > KEPT_LINES) lastLines.shift()
      })
    return {
      pid: child.pid ?? 0,
      exited: exitOf(child, lastLines),
      stop: () => stop(child),
      kill: () => child.kill('SIGKILL'),
    }
  }

  #arguments(): readonly string[] {
    const { bootstrapPath, concurrency, drainSeconds } = this.#options
    return [
      ...['-c', bootstrapPath],
      ...['--concurrency', String(concurrency)],
      ...['--log-level', 'warn', '--log-format', ENVOY_LOG_FORMAT],
      '--disable-hot-restart',
      // A field that this Envoy does not know must not be skipped in silence: it may be what protects.
      '--reject-unknown-dynamic-fields',
      ...['--drain-time-s', String(drainSeconds), '--drain-strategy', 'immediate'],
    ]
  }
}

function exitOf(child: ChildProcess, lastLines: readonly string[]): Promise<EnvoyExit> {
  return new Promise((resolve) => {
    const end = (how: string) => resolve({ reason: [how, ...lastLines].join(': ') })
    child.on('error', (error) => end(error.message))
    // `close` comes after the last line was read.
    child.on('close', (code, signal) => end(signal ?? `exit code ${code}`))
  })
}

/** SIGTERM, then SIGKILL. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS)
  await exited
  clearTimeout(timer)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
