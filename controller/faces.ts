/**
 * How the controller is asked, part of the composition root: the admin socket for the command line, health and metrics
 * over HTTP. In: the core's parts. Out: servers to start and stop; they change nothing but join tokens.
 */
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { AdminServer } from './adapters/http/admin.ts'
import type { ControllerMetrics } from './adapters/metrics/controller-metrics.ts'
import type { Config } from './config.ts'
import type { Entrance } from './entrance.ts'
import type { History } from './runtime/history.ts'
import type { Reconciler } from './runtime/reconcile.ts'
import type { StatusBoard } from './runtime/status-board.ts'
import { createHealth } from './telemetry.ts'
import { createViews } from './views.ts'
import type { Webhooks } from './webhooks.ts'

export interface Core {
  readonly entrance: Entrance
  readonly reconciler: Reconciler
  readonly board: StatusBoard
  readonly history: History
  readonly metrics: ControllerMetrics
  readonly webhooks: Webhooks
}

export function createFaces(
  core: Core,
  { config, clock, log }: { readonly config: Config; readonly clock: Clock; readonly log: Logger },
) {
  const { entrance, board } = core
  const admin = new AdminServer({
    socketPath: join(config.state, 'admin.sock'),
    objects: () => board.objects(),
    problems: () => board.problems(),
    views: createViews({ ...core, clock }),
    createJoinToken: async (request) => entrance.createJoinToken(request),
    log: log.child({ component: 'admin' }),
  })
  const health = createHealth({ address: config.health, clock, ...core })
  return { admin, health }
}
