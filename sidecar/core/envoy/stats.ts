/** Envoy's stats as the few facts that the sidecar needs. In: the text of admin `/stats`. Out: numbers. */

export interface EnvoyFacts {
  readonly warming: number
  readonly draining: number
  readonly activeListeners: number
  /** Listeners are handed to workers. */
  readonly workersStarted: boolean
  /** Open downstream connections, the admin's own left out. */
  readonly connections: number
  /** Requests under way, and connections that are not HTTP's: what a drain waits for. */
  readonly busy: number
  /** Access-log records that this Envoy dropped since it started: its buffer was full, for nobody read. */
  readonly recordsDropped: number
}

/** For `/stats?filter=`: everything that `readStats` reads. */
export const STATS_FILTER =
  '^(listener_manager\\.(total_listeners_|total_filter_chains_|workers_started)|cluster_manager\\.warming_clusters|(listener|http)\\..*\\.downstream_(cx|rq)_active|access_logs\\..*logs_dropped)'

const CONNECTIONS = /^listener\.(?!admin\.)(?!.*\.worker_\d+\.).*\.downstream_cx_active$/
const HTTP_CONNECTIONS = /^http\.(?!admin\.).*\.downstream_cx_active$/
const RECORDS_DROPPED = /^access_logs\..*\blogs_dropped$/
const HTTP_REQUESTS = /^http\.(?!admin\.).*\.downstream_rq_active$/

export function readStats(text: string): EnvoyFacts {
  const stats = new Map<string, number>()
  for (const line of text.split('\n')) {
    const colon = line.lastIndexOf(': ')
    if (colon > 0) stats.set(line.slice(0, colon), Number(line.slice(colon + 2)))
  }
  const value = (name: string) => stats.get(name) ?? 0
  const sum = (pattern: RegExp) =>
    [...stats].reduce((sum, [name, count]) => (pattern.test(name) ? sum + count : sum), 0)
  const connections = sum(CONNECTIONS)
  return {
    warming:
      value('listener_manager.total_listeners_warming') + value('cluster_manager.warming_clusters'),
    draining:
      value('listener_manager.total_listeners_draining') +
      value('listener_manager.total_filter_chains_draining'),
    activeListeners: value('listener_manager.total_listeners_active'),
    workersStarted: value('listener_manager.workers_started') === 1,
    connections,
    busy: sum(HTTP_REQUESTS) + Math.max(0, connections - sum(HTTP_CONNECTIONS)),
    recordsDropped: sum(RECORDS_DROPPED),
  }
}
