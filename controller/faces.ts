/**
 * How the controller is asked, part of the composition root: the admin socket for the command line, health and metrics
 * over HTTP. In: the core's parts. Out: servers to start and stop; they change nothing but join tokens.
 */
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { AdminServer } from './adapters/http/admin.ts'
import { HealthServer } from './adapters/http/health.ts'
import type { Config } from './config.ts'
import type { Entrance } from './entrance.ts'
import type { History } from './runtime/history.ts'
import { toMetrics } from './runtime/metrics.ts'
import type { Reconciler } from './runtime/reconcile.ts'
import type { StatusBoard } from './runtime/status-board.ts'
import { createViews } from './views.ts'

export interface Core {
  readonly entrance: Entrance
  readonly reconciler: Reconciler
  readonly board: StatusBoard
  readonly history: History
}

export function createFaces(
  core: Core,
  { config, clock, log }: { readonly config: Config; readonly clock: Clock; readonly log: Logger },
) {
  const { entrance, reconciler, board } = core
  const admin = new AdminServer({
    socketPath: join(config.state, 'admin.sock'),
    objects: () => board.objects(),
    problems: () => board.problems(),
    views: createViews({ ...core, clock }),
    createJoinToken: async (request) => entrance.createJoinToken(request),
    log: log.child({ component: 'admin' }),
  })
  const health = new HealthServer({
    ...config.health,
    whyNotReady: () => (entrance.isOpen() ? undefined : whyNotOpen(reconciler)),
    metrics: () =>
      toMetrics({
        figures: reconciler.figures(),
        view: reconciler.view(),
        proxies: board.proxies(),
        nowMs: clock.now(),
      }),
  })
  return { admin, health }
}

function whyNotOpen(reconciler: Reconciler): string {
  const view = reconciler.view()
  if (view === undefined) return 'the manifests were not read yet'
  const problem = view.problems.find((p) => p.code === 'ERR_MESH_MISSING')
  // Whoever can reach the health port reads this: nothing of what manifests say.
  return problem === undefined
    ? 'nothing is published yet; see `postern get problems`'
    : `${problem.message}; ${problem.remedy}`
}
