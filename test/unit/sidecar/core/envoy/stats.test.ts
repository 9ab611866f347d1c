/** The few facts out of Envoy's text. */
import t from 'tap'
import { readStats, STATS_FILTER } from '../../../../../sidecar/core/envoy/stats.ts'

const TEXT = `access_logs.grpc_access_log.logs_dropped: 3
cluster_manager.warming_clusters: 1
http.admin.downstream_cx_active: 7
http.admin.downstream_rq_active: 7
http.inbound/8080/tls.downstream_cx_active: 2
http.inbound/8080/tls.downstream_rq_active: 1
http.outbound/9000.downstream_cx_active: 1
http.outbound/9000.downstream_rq_active: 3
listener.127.0.0.1_8080.downstream_cx_active: 3
listener.127.0.0.1_8080.worker_0.downstream_cx_active: 3
listener.[__1]_8081.downstream_cx_active: 2
listener.admin.downstream_cx_active: 7
listener.admin.main_thread.downstream_cx_active: 7
listener_manager.total_filter_chains_draining: 1
listener_manager.total_listeners_active: 2
listener_manager.total_listeners_draining: 1
listener_manager.total_listeners_warming: 2
listener_manager.workers_started: 1
`

t.test(
  'sums what warms and what drains; counts connections once, without the admin’s; busy are requests and what is not HTTP',
  async (t) => {
    t.same(readStats(TEXT), {
      warming: 3,
      draining: 2,
      activeListeners: 2,
      workersStarted: true,
      connections: 5,
      busy: 4 + 2,
      recordsDropped: 3,
    })
  },
)

t.test('nothing is zero', async (t) => {
  t.same(readStats(''), {
    warming: 0,
    draining: 0,
    activeListeners: 0,
    workersStarted: false,
    connections: 0,
    busy: 0,
    recordsDropped: 0,
  })
})

t.test('the filter asks for all of it', async (t) => {
  const filter = new RegExp(STATS_FILTER)
  for (const line of TEXT.trim().split('\n')) t.match(line, filter)
})
