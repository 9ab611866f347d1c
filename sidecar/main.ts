/**
 * The sidecar's composition root: the only place that joins adapters, reads the environment, handles signals.
 * In: command line and environment. Out: Envoy beside a workload, until SIGTERM or SIGINT.
 *   identity ─▶ check worker ─▶ xDS both ways ─▶ Envoy; nothing of it starts before there is a certificate.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Logger, pino } from 'pino'
import type { Clock } from '../common/clock.ts'
import { MeshError } from '../common/errors.ts'
import { preparePrivateDir } from '../host/private-dir.ts'
import { lockState } from '../host/state-lock.ts'
import { checkTools } from './adapters/envoy/envoy-process.ts'
import { openRunDir, type RunDir } from './adapters/fs/run-dir.ts'
import { AppProbes } from './adapters/http/app-probes.ts'
import { createAttester } from './attesters.ts'
import { parseConfig, type SidecarConfig } from './config.ts'
import { runPaths, tooLongSocketPath } from './core/envoy/bootstrap.ts'
import { drainSidecar } from './drain.ts'
import { firstSvid } from './runtime/first-svid.ts'
import { startIdentity } from './runtime/identity.ts'
import { serve } from './serve.ts'
import { Telemetry } from './telemetry.ts'

const PACKAGE_ROOT = join(import.meta.dirname, '..')
/** Of the process, once all is done. */
const LINGER_MS = 1_000
const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() }

/** Runs until a signal; with `drain` first, tells a running one to drain. Rejects with ERR_CONFIG (every mistake at once) or ERR_TOOL_MISSING. */
export async function runSidecar(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  if (argv[0] === 'drain') return drainSidecar(argv.slice(1))
  const parsed = parseConfig(argv, env, { cwd: process.cwd(), packageRoot: PACKAGE_ROOT })
  if (parsed.kind === 'help') {
    process.stdout.write(parsed.text)
    return
  }
  if (parsed.kind === 'mistakes') throw new MeshError('ERR_CONFIG', parsed.mistakes.join('\n'))
  const { config } = parsed
  checkTools(config.envoy, env.PATH ?? '')
  const tooLong = tooLongSocketPath(runPaths(config.runDir))
  if (tooLong !== undefined) {
    const message = `the socket path ${tooLong} is longer than 107 bytes; give a shorter --run-dir`
    throw new MeshError('ERR_CONFIG', message)
  }
  await preparePrivateDir(config.state)
  const unlock = await lockState(config.state, 'sidecar', { mayBeReadOnly: true })
  try {
    const runDir = await openRunDir(config.runDir)
    await run(config, runDir)
    await runDir.close()
  } finally {
    await unlock()
  }
}

async function run(config: SidecarConfig, runDir: RunDir): Promise<void> {
  // Decisions may go to stdout, so the log goes to stderr.
  const log = pino({ name: 'postern-sidecar', level: config.logLevel }, pino.destination(2))
  const stopping = new AbortController()
  const hurrying = new AbortController()
  const stop = () => {
    // The second one ends the drain.
    if (stopping.signal.aborted) hurrying.abort()
    stopping.abort()
  }
  // Never taken off: write-file-atomic's signal-exit ends a process that has no handler of its own left.
  process.on('SIGTERM', stop).on('SIGINT', stop).on('SIGHUP', ignore)
  // Known to this process and the controller only: who tells it is taken for this process.
  const instanceId = randomBytes(16).toString('hex')
  log.info({ ...config }, 'sidecar starts')
  const elsewhere = runDir.problem()
  if (elsewhere !== undefined) log.error({ err: elsewhere }, 'run directory not used')
  const paths = runPaths(runDir.dir)
  const attester = await createAttester({ config, clock, instanceId, log })
  const identity = await startIdentity({
    attester,
    clock,
    log: log.child({ component: 'identity' }),
    signal: stopping.signal,
  })
  const version = packageVersion()
  const { pod, appProbes } = config
  const probes = new AppProbes({ probes: appProbes, address: pod?.ip ?? '127.0.0.1' })
  const askApp = (path: string) => probes.ask(path)
  const telemetry = new Telemetry({ address: config.health, identity, version, askApp })
  try {
    await telemetry.start()
    const hurry = hurrying.signal
    const base = { config, paths, runDir, identity, instanceId, version, clock, log }
    const given = { ...base, hurry, onStarted: telemetry.show }
    let svid = await firstSvid(identity, stopping.signal)
    // Each round is one workload's: after a new join the SVID may be another one's.
    while (svid !== undefined) {
      svid = await serve({ ...given, svid }, stopping.signal)
      telemetry.show(undefined)
    }
  } finally {
    await telemetry.stop()
    await identity.stop()
    log.info({}, 'sidecar ended')
    endSoon(log)
  }
}

/** A connection to a controller that went without a word must not hold a container, or a Job, for as long as TCP waits. */
function endSoon(log: Logger): void {
  const end = () => {
    log.warn({ left: process.getActiveResourcesInfo() }, 'something was left open')
    process.exit()
  }
  setTimeout(end, LINGER_MS).unref()
}

/** SIGHUP reopens the decision log once there is one (serve.ts); before that it must not end the process. */
function ignore(): void {}

function packageVersion(): string {
  const text = readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
