/**
 * The controller's composition root: the only place that joins adapters, reads the environment, handles signals.
 * In: command line and environment. Out: a running controller, until SIGTERM or SIGINT.
 */
import { join } from 'node:path'
import { pino } from 'pino'
import type { Clock } from '../common/clock.ts'
import { MeshError } from '../common/errors.ts'
import { lockState } from '../host/state-lock.ts'
import { type Config, parseConfig } from './config.ts'
import { type Core, createFaces } from './faces.ts'
import { joinCore } from './join-core.ts'
import { openSources } from './open-sources.ts'
import { clearTemp, findLostGenerations, preparePlaces } from './places.ts'

const DEFAULT_OPA = join(import.meta.dirname, '../.tools/opa')
/** How long calls may take to end at SIGTERM. */
const GRACE_MS = 2000

const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() }

/**
 * A small Buffer that lives as long as a connection holds the whole slab that it was cut from. Slabs of Node's default
 * size, 64 KiB, took 18 MiB with 1,000 proxies.
 */
const BUFFER_SLAB_BYTES = 1024

/** Runs until a signal. Rejects with ERR_CONFIG (every mistake at once), ERR_STATE_CORRUPT, ERR_STATE_WRITE. */
export async function runController(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const parsed = parseConfig(argv, env, { cwd: process.cwd(), defaultOpa: DEFAULT_OPA })
  if (parsed.kind === 'help') {
    process.stdout.write(parsed.text)
    return
  }
  if (parsed.kind === 'mistakes') throw new MeshError('ERR_CONFIG', parsed.mistakes.join('\n'))
  Buffer.poolSize = BUFFER_SLAB_BYTES
  const signalled = untilSignal()
  const { config } = parsed
  await preparePlaces(config)
  const unlock = await lockState(config.state, 'controller')
  try {
    await clearTemp(config.state)
    await run(config, signalled)
  } finally {
    await unlock()
  }
}

/**
 * Resolves at the first SIGTERM or SIGINT. The handlers stay for as long as the process does: where there is none, a
 * signal ends it in the midst of what it does, and so does signal-exit (of write-file-atomic) during a write.
 */
function untilSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  process.on('SIGTERM', resolve).on('SIGINT', resolve)
  return promise
}

async function run(config: Config, signalled: Promise<void>): Promise<void> {
  const log = pino({ name: 'postern-controller', level: config.logLevel })
  log.info({ ...config }, 'controller starts')
  const remedy = await findLostGenerations(config.state)
  if (remedy !== undefined)
    log.warn({ code: 'ERR_STATE_CORRUPT', remedy }, 'accepted generations are gone')
  const failed = Promise.withResolvers<never>()
  const sources = await openSources(config, {
    clock,
    log,
    objects: () => core.board.objects(),
    roots: () => core.entrance.roots(),
    proxies: () => core.entrance.proxies.list(),
    onOthers: () => core.board.touch(),
    onShared: () => core.reconciler.touch(),
  })
  const core: Core = joinCore(config, { clock, log, sources, fail: failed.reject })
  const { entrance, reconciler, board } = core
  const { admin, health } = createFaces(core, { config, clock, log })
  try {
    await health.start()
    log.info({ host: config.health.host, port: health.port() }, 'health and metrics are served')
    await admin.start()
    await board.start()
    const stopped = new AbortController()
    void signalled.then(() => stopped.abort())
    await sources.ready(stopped.signal)
    if (!stopped.signal.aborted) await reconciler.start()
    await Promise.race([signalled, failed.promise])
    log.info({}, 'controller stops')
  } finally {
    await reconciler.stop()
    await board.stop()
    await core.webhooks.stop()
    await entrance.stop(GRACE_MS)
    await admin.stop()
    await health.stop()
    await sources.stop()
  }
}
