/**
 * How the controller shows itself, part of the composition root: /healthz, /readyz and /metrics, and how long
 * compilations take. In: its parts. Out: the health server, and a compiler with a clock on it.
 */
import type { Clock } from '../common/clock.ts'
import { HealthServer } from './adapters/http/health.ts'
import type { ControllerMetrics } from './adapters/metrics/controller-metrics.ts'
import type { Entrance } from './entrance.ts'
import type { CompileResult, RegoCompiler } from './runtime/ports.ts'
import type { Reconciler } from './runtime/reconcile.ts'
import type { StatusBoard } from './runtime/status-board.ts'

export interface HealthParts {
  readonly address: { readonly host: string; readonly port: number }
  readonly entrance: Entrance
  readonly reconciler: Reconciler
  readonly board: StatusBoard
  readonly metrics: ControllerMetrics
  readonly clock: Clock
}

export function createHealth(parts: HealthParts): HealthServer {
  const { address, entrance, reconciler, board, metrics, clock } = parts
  metrics.observe(() => ({
    figures: reconciler.figures(),
    view: reconciler.view(),
    // Of this replica: each tells of its own, and Prometheus adds.
    proxies: entrance.proxies.list(),
    problems: board.problems(),
    certificates: entrance.certificates(),
    revokedCredentials: entrance.revoked().size,
    xds: entrance.xdsLoad(),
    nowMs: clock.now(),
  }))
  return new HealthServer({
    ...address,
    whyNotReady: () => (entrance.isOpen() ? undefined : whyNotOpen(reconciler)),
    metrics: { contentType: metrics.metrics.contentType, text: () => metrics.text() },
  })
}

/** The compiler, with the time of each compilation counted. What nobody waited for is not. */
export function measured(
  compiler: RegoCompiler,
  { metrics, clock }: { readonly metrics: ControllerMetrics; readonly clock: Clock },
): RegoCompiler {
  return {
    async compile(unit, signal) {
      const startMs = clock.monotonic()
      const note = (result: CompileResult | undefined) => {
        if (!signal.aborted) metrics.compiled(result, (clock.monotonic() - startMs) / 1000)
      }
      try {
        const result = await compiler.compile(unit, signal)
        note(result)
        return result
      } catch (error) {
        note(undefined)
        throw error
      }
    },
  }
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
