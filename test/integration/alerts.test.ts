/**
 * The alert rules and the dashboard, by a real promtool: each rule is well formed, fires for its reason, is silent
 * otherwise, has a runbook, and reads only metrics that there are.
 */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { ControllerMetrics } from '../../controller/adapters/metrics/controller-metrics.ts'
import { processDeclarations } from '../../host/metrics.ts'
import { dashboardQueries } from '../../scripts/gen-dashboard.ts'
import { SidecarMetrics } from '../../sidecar/adapters/metrics/sidecar-metrics.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'

const ROOT = join(import.meta.dirname, '../..')
const RULES = join(ROOT, 'docs/prometheus/alerts.yaml')
const run = promisify(execFile)

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string }[]
  }[]
}

const rules = (parse(readFileSync(RULES, 'utf8')) as Rules).groups.flatMap((g) => g.rules)

/** Series in promtool's notation: metric → values each minute. */
type Series = Readonly<Record<string, string>>

const DAY = 86_400
const C = '{instance="c"}'
const S = '{instance="s"}'
const always = (value: number) => `${value}x60`
const growing = (by: number) => `0+${by}x60`

/** What makes an alert fire within the hour, and what is like it and must not. An hour is 60 minutes from 1970 on. */
const CASES: Readonly<Record<string, { readonly fires: Series; readonly quiet: Series }>> = {
  PosternControllerAbsent: {
    fires: { [`postern_ready${S}`]: always(1) },
    quiet: { [`postern_controller_reconciles_total${C}`]: always(3) },
  },
  PosternReconcileFails: counter(`postern_controller_reconcile_failures_total${C}`, 1),
  PosternManifestProblems: gauge('postern_controller_problems{instance="c",code="ERR_CIDR"}', 2, 0),
  PosternProxyRefuses: gauge(`postern_controller_proxies_refusing${C}`, 1, 0),
  PosternProxiesLag: gauge('postern_controller_proxies_lagging{instance="c",in="ack"}', 1, 0),
  PosternProxiesMissing: {
    fires: missing(3, 4),
    quiet: missing(4, 4),
  },
  PosternRootExpires: gauge(
    `postern_controller_root_expiry_timestamp_seconds${C}`,
    20 * DAY,
    40 * DAY,
  ),
  PosternCredentialRevoked: gauge(`postern_controller_credentials_revoked${C}`, 1, 0),
  PosternIdentityRefused: counter(
    'postern_controller_svids_refused_total{instance="c",code="ERR_TOKEN_USED"}',
    1,
  ),
  PosternProxyNotReady: gauge(`postern_ready${S}`, 0, 1),
  PosternControllerAway: gauge(`postern_xds_connected${S}`, 0, 1),
  PosternSvidExpiresSoon: { fires: lifetime(3800), quiet: lifetime(2 * DAY) },
  PosternNotInSync: gauge(`postern_xds_in_sync${S}`, 0, 1),
  PosternBundleStale: {
    fires: { [`postern_bundle_confirmed_timestamp_seconds${S}`]: always(60) },
    quiet: {
      [`postern_bundle_confirmed_timestamp_seconds${S}`]: growing(60),
      [`postern_bundle_in_sync${S}`]: always(1),
    },
  },
  PosternPolicyErrors: {
    fires: { 'postern_decision_errors_total{instance="s",code="ERR_POLICY_TIMEOUT"}': growing(1) },
    // any caller can send what is no JSON
    quiet: { 'postern_decision_errors_total{instance="s",code="ERR_INPUT_INVALID"}': growing(9) },
  },
  PosternFailedOpen: counter('postern_failed_open_total{instance="s",policy="shop/p"}', 1),
  PosternDenialSurge: { fires: decisions(600, 300), quiet: decisions(600, 6000) },
  PosternChecksSlow: { fires: checks('0.25'), quiet: checks('0.05') },
  PosternDecisionsLost: counter(`postern_decisions_lost_total${S}`, 1),
  PosternEnvoyCrashLoops: counter(`postern_envoy_restarts_total${S}`, 1),
  PosternClockSkew: gauge(`postern_clock_offset_seconds${S}`, -45, 2),
  PosternEventLoopLags: { fires: lag('s'), quiet: lag('of another program') },
  PosternTelemetryLost: counter(`postern_spans_dropped_total${S}`, 10),
}

function gauge(series: string, bad: number, good: number) {
  return { fires: { [series]: always(bad) }, quiet: { [series]: always(good) } }
}

function counter(series: string, perMinute: number) {
  return { fires: { [series]: growing(perMinute) }, quiet: { [series]: always(7) } }
}

function missing(connected: number, served: number): Series {
  return {
    [`postern_controller_proxies_connected${C}`]: always(connected),
    [`postern_controller_workloads_served${C}`]: always(served),
  }
}

function lifetime(end: number): Series {
  return {
    [`postern_svid_obtained_timestamp_seconds${S}`]: always(0),
    [`postern_svid_expiry_timestamp_seconds${S}`]: always(end),
  }
}

function decisions(deny: number, allow: number): Series {
  return {
    'postern_decisions_total{instance="s",policy="default",lane="rbac",result="deny"}':
      growing(deny),
    'postern_decisions_total{instance="s",policy="shop/p",lane="rbac",result="allow"}':
      growing(allow),
  }
}

function checks(bucket: string): Series {
  return {
    'postern_check_duration_seconds_bucket{instance="s",le="0.025"}': always(0),
    [`postern_check_duration_seconds_bucket{instance="s",le="${bucket}"}`]: growing(60),
    'postern_check_duration_seconds_bucket{instance="s",le="+Inf"}': growing(60),
  }
}

function lag(instance: string): Series {
  return {
    [`nodejs_eventloop_lag_p99_seconds{instance="${instance}"}`]: always(2),
    [`postern_ready${S}`]: always(1),
  }
}

t.test('promtool takes the rules', async (t) => {
  const { stdout } = await run(toolPath('promtool'), ['check', 'rules', RULES])
  t.match(stdout, new RegExp(`${rules.length} rules found`))
})

t.test('each alert fires for its reason, and for nothing like it', async (t) => {
  t.same(Object.keys(CASES).sort(), rules.map(({ alert }) => alert).sort(), 'each has its case')
  const tests = Object.entries(CASES).flatMap(([alert, { fires, quiet }]) => [
    toTest(alert, fires, true),
    toTest(alert, quiet, false),
  ])
  const file = join(tempDir(t), 'tests.yaml')
  writeFileSync(file, JSON.stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }))
  await run(toolPath('promtool'), ['test', 'rules', file]).catch((error) =>
    t.fail(`${error.stdout}${error.stderr}`.slice(0, 4000)),
  )
})

/** `ALERTS` has a series for each alert that fires; whether there is one is asked, not what its texts are. */
function toTest(name: string, series: Series, isFiring: boolean) {
  const expr = `count(ALERTS{alertname="${name}",alertstate="firing"}) or vector(0)`
  return {
    ...{ name: `${name} ${isFiring ? 'fires' : 'is quiet'}`, interval: '1m' },
    input_series: Object.entries(series).map(([key, values]) => ({ series: key, values })),
    promql_expr_test: [
      { expr, eval_time: '60m', exp_samples: [{ labels: '{}', value: Number(isFiring) }] },
    ],
  }
}

t.test('each alert has a runbook, and no runbook is without its alert', async (t) => {
  const page = readFileSync(join(ROOT, 'docs/alerts.md'), 'utf8')
  const headings = [...page.matchAll(/^## (\w+)$/gm)].map(([, name]) => name)
  t.same(headings.sort(), rules.map(({ alert }) => alert).sort())
})

t.test('rules and dashboard read metrics that there are', async (t) => {
  const declared = [
    ...new ControllerMetrics().metrics.declarations(),
    ...new SidecarMetrics().metrics.declarations(),
    ...(await processDeclarations()),
  ]
  const known = new Set(
    declared.flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  )
  const expressions = [...rules.map(({ expr }) => expr), ...dashboardQueries()]
  for (const expression of expressions) {
    const names = expression.match(/\b(?:postern|process|nodejs)_\w+/g) ?? []
    for (const name of names) t.ok(known.has(name), name)
  }
  // PromQL that a real parser takes, once Grafana's variables stand for something.
  const record = dashboardQueries().map((query, i) => ({
    record: `dashboard:query:${i}`,
    expr: query.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*'),
  }))
  const file = join(tempDir(t), 'dashboard.yaml')
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules: record }] }))
  await run(toolPath('promtool'), ['check', 'rules', file])
})
