/**
 * What decides and serves, joined with each other, part of the composition root.
 * In: the configuration and where objects come from. Out: the core, not started yet.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { ControllerMetrics } from './adapters/metrics/controller-metrics.ts'
import { OpaRegoCompiler } from './adapters/opa/rego-compiler.ts'
import { createConditionStore } from './adapters/state/condition-store.ts'
import { FileGenerationStore } from './adapters/state/generation-store.ts'
import type { Config } from './config.ts'
import { Entrance } from './entrance.ts'
import type { Core } from './faces.ts'
import { History } from './runtime/history.ts'
import { joinProxies } from './runtime/proxy-table.ts'
import { Reconciler } from './runtime/reconcile.ts'
import { StatusBoard } from './runtime/status-board.ts'
import type { Sources } from './sources.ts'
import { measured } from './telemetry.ts'
import { Webhooks } from './webhooks.ts'

interface Joined {
  readonly clock: Clock
  readonly log: Logger
  readonly sources: Sources
  readonly fail: (error: unknown) => void
}

export function joinCore(config: Config, { clock, log, sources, fail }: Joined): Core {
  const metrics = new ControllerMetrics()
  const entrance = new Entrance({
    config,
    clock,
    log,
    metrics,
    onRevoked: () => board.touch(),
    onKeysChanged: () => {
      sources.rootsChanged?.()
      reconciler.touch()
      board.touch()
    },
    ...(sources.pods === undefined ? {} : { pods: sources.pods }),
    ...(sources.keys === undefined ? {} : { keys: sources.keys }),
  })
  const opa = new OpaRegoCompiler({ binary: config.opa, tempDir: join(config.state, 'tmp') })
  const compiler = measured(opa, { metrics, clock })
  const webhooks = new Webhooks({ config, entrance, sources, compiler, log })
  const history = new History()
  const reconciler = new Reconciler({
    manifests: sources.manifests,
    ...(sources.cluster === undefined ? {} : { cluster: sources.cluster }),
    compiler,
    store: sources.generations ?? new FileGenerationStore(config.state),
    authority: entrance,
    // A port that is taken is for the user to free; a controller that nobody reaches doesn't run on.
    publish: (publication) => {
      history.note(publication, entrance.proxies.list(), clock.now())
      return entrance
        .publish(publication)
        .then(() => webhooks.open())
        .catch(fail)
    },
    clock,
    newUid: randomUUID,
    onPass: (seconds) => metrics.passed(seconds),
    log: log.child({ component: 'reconcile' }),
  })
  const board = createBoard(config, { clock, log, sources, entrance, reconciler })
  board.onChange(() => sources.writer?.touch())
  reconciler.onChange(() => board.refresh())
  entrance.proxies.onChange(() => {
    board.touch()
    sources.proxiesChanged?.()
  })
  return { entrance, reconciler, board, history, metrics, webhooks }
}

interface BoardParts extends Pick<Joined, 'clock' | 'log' | 'sources'> {
  readonly entrance: Entrance
  readonly reconciler: Reconciler
}

function createBoard(
  config: Config,
  { clock, log, sources, entrance, reconciler }: BoardParts,
): StatusBoard {
  return new StatusBoard({
    view: () => reconciler.view(),
    proxies: { list: () => joinProxies(entrance.proxies.list(), sources.others?.() ?? []) },
    revoked: () => entrance.revoked(),
    troubles: () => entrance.problems(),
    conditions: createConditionStore(config.state),
    clock,
    log: log.child({ component: 'status' }),
  })
}
