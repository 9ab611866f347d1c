/**
 * Writes docs/grafana/postern.json: the dashboard, from the panels below. Same panels, same bytes.
 * That each query's metrics exist is tested: ours against the declarations, Envoy's against a real scrape.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const FOLDER = join(import.meta.dirname, '../docs/grafana')
const WIDTH = 8
const HEIGHT = 8
const COLUMNS = 24

interface Panel {
  readonly title: string
  /** Grafana's name of a unit. */
  readonly unit: string
  /** Legend → PromQL. `$instance` is the chosen sidecars. */
  readonly queries: Readonly<Record<string, string>>
  readonly kind?: 'timeseries' | 'stat'
}

interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

const OF_INSTANCE = '{instance=~"$instance"}'
const perSecond = (metric: string, labels = OF_INSTANCE) =>
  `rate(${metric}${labels}[$__rate_interval])`
const quantile = (q: number, metric: string, by = 'le') =>
  `histogram_quantile(${q}, sum by (${by}) (rate(${metric}[$__rate_interval])))`

export const ROWS: readonly Row[] = [
  {
    title: 'The mesh',
    panels: [
      {
        ...{ title: 'Proxies', unit: 'short' },
        queries: {
          served: 'max(postern_controller_workloads_served)',
          connected: 'sum(postern_controller_proxies_connected)',
          ready: 'sum(postern_controller_proxies_ready)',
          refusing: 'sum(postern_controller_proxies_refusing)',
          'lagging in {{in}}': 'sum by (in) (postern_controller_proxies_lagging)',
        },
      },
      {
        ...{ title: 'Problems in manifests', unit: 'short' },
        queries: { '{{code}}': 'sum by (code) (postern_controller_problems)' },
      },
      {
        ...{ title: 'Shortest life left of a certificate', unit: 's', kind: 'stat' },
        queries: {
          workloads: 'min(postern_svid_expiry_timestamp_seconds > 0) - time()',
          controller: 'min(postern_controller_svid_expiry_timestamp_seconds) - time()',
          root: 'min(postern_controller_root_expiry_timestamp_seconds) - time()',
        },
      },
    ],
  },
  {
    title: 'Decisions',
    panels: [
      {
        ...{ title: 'Decisions', unit: 'reqps' },
        queries: {
          '{{result}}, {{lane}}': `sum by (result, lane) (${perSecond('postern_decisions_total')})`,
        },
      },
      {
        ...{ title: 'Denials by policy', unit: 'reqps' },
        queries: {
          '{{policy}}': `topk(10, sum by (policy) (${perSecond('postern_decisions_total', '{instance=~"$instance", result="deny"}')}))`,
        },
      },
      {
        ...{ title: 'Failures', unit: 'reqps' },
        queries: {
          '{{code}}': `sum by (code) (${perSecond('postern_decision_errors_total')}) > 0`,
          'open: {{policy}}': `sum by (policy) (${perSecond('postern_failed_open_total')}) > 0`,
        },
      },
      {
        ...{ title: 'Would match (Shadow, AUDIT)', unit: 'reqps' },
        queries: {
          '{{policy}}': `sum by (policy) (${perSecond('postern_shadow_matches_total')}) > 0`,
        },
      },
      {
        ...{ title: 'Time of a check', unit: 's' },
        queries: {
          median: quantile(0.5, `postern_check_duration_seconds_bucket${OF_INSTANCE}`),
          '99 %': quantile(0.99, `postern_check_duration_seconds_bucket${OF_INSTANCE}`),
        },
      },
      {
        ...{ title: 'Lost', unit: 'short' },
        queries: {
          decisions: 'sum(increase(postern_decisions_lost_total[$__rate_interval]))',
          gaps: 'sum(increase(postern_decision_log_gaps_total[$__rate_interval]))',
          'access log': 'sum(increase(postern_access_log_lost_total[$__rate_interval]))',
          spans: 'sum(increase(postern_spans_dropped_total[$__rate_interval]))',
        },
      },
    ],
  },
  {
    title: 'Traffic, by Envoy',
    panels: [
      {
        ...{ title: 'Requests', unit: 'reqps' },
        queries: {
          '{{envoy_http_conn_manager_prefix}}, {{envoy_response_code_class}}xx': `sum by (envoy_http_conn_manager_prefix, envoy_response_code_class) (${perSecond('envoy_http_downstream_rq_xx')})`,
        },
      },
      {
        ...{ title: 'Time of a request, 99 %', unit: 'ms' },
        queries: {
          '{{envoy_http_conn_manager_prefix}}': quantile(
            0.99,
            `envoy_http_downstream_rq_time_bucket${OF_INSTANCE}`,
            'envoy_http_conn_manager_prefix, le',
          ),
        },
      },
      {
        ...{ title: 'Open connections', unit: 'short' },
        queries: {
          '{{envoy_http_conn_manager_prefix}}': `sum by (envoy_http_conn_manager_prefix) (envoy_http_downstream_cx_active${OF_INSTANCE})`,
        },
      },
    ],
  },
  {
    title: 'Sidecars',
    panels: [
      {
        ...{ title: 'Not as they should be', unit: 'short' },
        queries: {
          'not ready': 'count(postern_ready == 0)',
          'controller away': 'count(postern_xds_connected == 0)',
          'configuration not in force': 'count(postern_xds_in_sync == 0)',
          'bundle not newest': 'count(postern_bundle_in_sync == 0)',
          'crash loop': 'count(postern_envoy_crash_looping == 1)',
        },
      },
      {
        ...{ title: 'Restarts', unit: 'short' },
        queries: {
          Envoy: 'sum(increase(postern_envoy_restarts_total[$__rate_interval]))',
          'check worker': 'sum(increase(postern_check_workers_replaced_total[$__rate_interval]))',
        },
      },
      {
        ...{ title: 'Memory and CPU', unit: 'short' },
        queries: {
          '{{instance}} bytes': `process_resident_memory_bytes${OF_INSTANCE}`,
          '{{instance}} cores': perSecond('process_cpu_seconds_total'),
        },
      },
    ],
  },
  {
    title: 'Controller',
    panels: [
      {
        ...{ title: 'Passes, 99 %', unit: 's' },
        queries: {
          pass: quantile(0.99, 'postern_controller_reconcile_duration_seconds_bucket'),
          'Rego {{result}}': quantile(
            0.99,
            'postern_controller_rego_compile_duration_seconds_bucket',
            'result, le',
          ),
        },
      },
      {
        ...{ title: 'xDS', unit: 'ops' },
        queries: {
          'sent {{type}}': `sum by (type) (${perSecond('postern_controller_xds_pushes_total', '')})`,
          nack: `sum(${perSecond('postern_controller_xds_answers_total', '{answer="nack"}')})`,
        },
      },
      {
        ...{ title: 'From sending to ACK, 99 %', unit: 's' },
        queries: {
          '{{type}}': quantile(
            0.99,
            'postern_controller_xds_answer_duration_seconds_bucket',
            'type, le',
          ),
        },
      },
      {
        ...{ title: 'Certificates', unit: 'ops' },
        queries: {
          'by {{proof}}': `sum by (proof) (${perSecond('postern_controller_svids_issued_total', '')})`,
          'refused {{code}}': `sum by (code) (${perSecond('postern_controller_svids_refused_total', '')})`,
        },
      },
      {
        ...{ title: 'Bundles', unit: 'ops' },
        queries: {
          '{{result}}': `sum by (result) (${perSecond('postern_controller_bundle_answers_total', '')})`,
        },
      },
      {
        ...{ title: 'Event loop, 99 %', unit: 's' },
        queries: {
          '{{instance}}':
            'nodejs_eventloop_lag_p99_seconds and on (instance) postern_controller_xds_streams',
        },
      },
    ],
  },
]

/** Every query of the dashboard. */
export function dashboardQueries(): readonly string[] {
  return ROWS.flatMap(({ panels }) => panels.flatMap(({ queries }) => Object.values(queries)))
}

export function dashboard(): object {
  let y = 0
  let id = 0
  const panels = ROWS.flatMap(({ title, panels }) => {
    const row = { id: ++id, type: 'row', title, gridPos: { h: 1, w: COLUMNS, x: 0, y }, panels: [] }
    const placed = panels.map((panel, i) => {
      const perLine = COLUMNS / WIDTH
      const gridPos = {
        ...{ h: HEIGHT, w: WIDTH, x: (i % perLine) * WIDTH },
        y: y + 1 + Math.floor(i / perLine) * HEIGHT,
      }
      return { id: ++id, gridPos, ...toPanel(panel) }
    })
    y += 1 + Math.ceil((panels.length * WIDTH) / COLUMNS) * HEIGHT
    return [row, ...placed]
  })
  return {
    ...{ uid: 'postern', title: 'Postern', tags: ['postern'], schemaVersion: 41, version: 1 },
    ...{ timezone: 'browser', refresh: '30s', time: { from: 'now-1h', to: 'now' } },
    templating: { list: [sourceVariable(), instanceVariable()] },
    panels,
  }
}

function toPanel({ title, unit, queries, kind = 'timeseries' }: Panel) {
  return {
    ...{ type: kind, title, datasource: { type: 'prometheus', uid: '$source' } },
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    targets: Object.entries(queries).map(([legendFormat, expr], i) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + i),
      expr,
      legendFormat,
    })),
  }
}

function sourceVariable() {
  return { name: 'source', label: 'Prometheus', type: 'datasource', query: 'prometheus' }
}

function instanceVariable() {
  return {
    ...{ name: 'instance', label: 'Sidecar', type: 'query', multi: true, includeAll: true },
    datasource: { type: 'prometheus', uid: '$source' },
    query: { query: 'label_values(postern_ready, instance)', refId: 'instance' },
    ...{ refresh: 2, sort: 1, allValue: '.*', current: { text: 'All', value: '$__all' } },
  }
}

if (import.meta.main) {
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(join(FOLDER, 'postern.json'), `${JSON.stringify(dashboard(), undefined, 2)}\n`)
}
