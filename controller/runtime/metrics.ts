/** The controller's metrics, declared in one place: what /metrics prints. No labels; times are seconds. */
import type { ProxyState } from './ports.ts'
import type { ReconcileFigures, View } from './reconcile.ts'

export interface Metric {
  /** Without the prefix `postern_controller_`. */
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly value: number
}

export interface MetricsInput {
  readonly figures: ReconcileFigures
  readonly view: View | undefined
  readonly proxies: readonly ProxyState[]
  /** Epoch milliseconds. */
  readonly nowMs: number
}

type Row = readonly [Metric['type'], string, string, number | undefined]

/** Rows without a value yet are left out. */
export function toMetrics({ figures, view, proxies, nowMs }: MetricsInput): readonly Metric[] {
  const age = (sinceMs: number | undefined) =>
    sinceMs === undefined || sinceMs === 0 ? undefined : Math.max(0, (nowMs - sinceMs) / 1000)
  const { passes, failures, totalDurationMs, lastDurationMs, lastGoodMs } = figures
  const connected = proxies.filter((p) => p.connected).length
  const rows: readonly Row[] = [
    ['counter', 'reconciles_total', 'Passes over the manifests.', passes],
    ['counter', 'reconcile_failures_total', 'Passes that failed and are tried again.', failures],
    ['counter', 'reconcile_seconds_total', 'Time spent in passes.', totalDurationMs / 1000],
    ['gauge', 'reconcile_last_seconds', 'Length of the last pass.', lastDurationMs / 1000],
    ['gauge', 'last_good_age_seconds', 'Time since a pass went through.', age(lastGoodMs)],
    ['gauge', 'problems', 'Mistakes in the manifests now.', view?.problems.length],
    ['gauge', 'objects_in_force', 'Accepted objects.', view?.inForce.size],
    ['gauge', 'rego_pending', 'Policies being compiled.', view?.settlement.pending.size],
    ['gauge', 'proxies_connected', 'Connected proxies.', connected],
    ['gauge', 'workloads_served', 'Workloads served.', view?.publication?.snapshots.size],
    ['gauge', 'generation_age_seconds', 'Age of what is served.', age(view?.publishedAtMs)],
  ]
  return rows.flatMap(([type, name, help, value]) =>
    value === undefined ? [] : [{ name, help, type, value }],
  )
}
