/**
 * The sidecar's own metrics, all of them, declared in this one file; Envoy's follow them on the same page.
 * In: what the parts know of themselves at a scrape. Out: Prometheus text for /metrics, and the reference page.
 * Label values are names of policies in force (at most 200), lanes, outcomes and codes: bounded. Never a path, a
 * SPIFFE id, a peer, or a revision. Times are seconds.
 */
import { histogramSamples, Metrics, type Sample } from '../../../host/metrics.ts'
import { CHECK_BOUNDS, OUTCOMES, type Outcome, type Tally } from '../../runtime/decision-tally.ts'

/** What is read at a scrape. Absent parts are not there yet: no identity, so nothing is served. */
export interface SidecarReadings {
  readonly version: string
  readonly ready: boolean
  readonly identity: { readonly notAfterMs: number } | undefined
  readonly svids: {
    readonly obtained: number
    readonly failed: number
    readonly obtainedAtMs: number
  }
  readonly serving: ServingReadings | undefined
}

export interface ServingReadings {
  readonly envoyVersion: string
  readonly isConnected: boolean
  /** Content hashes, hex; empty: none. */
  readonly enforcedGeneration: string
  readonly wantedGeneration: string
  readonly bundleRevision: string
  /** Resources that Envoy refuses now. */
  readonly refusals: number
  readonly envoy: {
    readonly isLive: boolean
    readonly isCrashLooping: boolean
    readonly restarts: number
  }
  readonly bundles: {
    readonly confirmedAtMs: number | undefined
    readonly failures: number
    readonly skewMs: number | undefined
    readonly isNewest: boolean
  }
  readonly tally: Tally
  readonly workersReplaced: number
  readonly decisionsLost: number
  readonly decisionLogGaps: number
  readonly access: { readonly written: number; readonly lost: number }
  readonly spans: { readonly exported: number; readonly dropped: number }
  readonly envoyScrapeFailures: number
}

/** Codes that a decision can have: their series are there from the start, so that the first one is seen to come. */
const DECISION_CODES: ReadonlySet<string> = new Set([
  'ERR_NO_BUNDLE',
  'ERR_INPUT_INVALID',
  'ERR_BODY_NOT_BUFFERED',
  'ERR_POLICY_ERROR',
  'ERR_POLICY_TIMEOUT',
  'ERR_POLICY_RESULT',
  'ERR_DECISION_LOG',
  'ERR_INTERNAL',
])
/** So many hex digits fit a float exactly. */
const HASH_DIGITS = 13

export class SidecarMetrics {
  readonly metrics = new Metrics('postern_')
  #readings: () => SidecarReadings = () => {
    throw new Error('read before observe()')
  }
  /** Of the scrape under way. */
  #current: SidecarReadings | undefined

  constructor() {
    this.#declareIdentity()
    this.#declareConfiguration()
    this.#declareBundles()
    this.#declareDecisions()
    this.#declareChecks()
    this.#declareLosses()
    this.#declareLogsAndSpans()
    this.#declareEnvoy()
    this.metrics.collectProcess()
  }

  /** `readings` is called once for each scrape. */
  observe(readings: () => SidecarReadings): void {
    this.#readings = readings
  }

  text(): Promise<string> {
    // Every metric is read before the first wait, so that one look serves them all.
    this.#current = this.#readings()
    return this.metrics.text()
  }

  #read(): SidecarReadings {
    return this.#current ?? this.#readings()
  }

  #declareIdentity(): void {
    const { metrics } = this
    const build = {
      help: 'always 1; the versions of the sidecar and of its Envoy (empty: it never answered)',
      labels: ['version', 'envoy'],
    } as const
    metrics.read('build_info', build, () => {
      const { version, serving } = this.#read()
      return [{ labels: { version, envoy: serving?.envoyVersion ?? '' }, value: 1 }]
    })
    const ready = { help: '1: as `/readyz` 200: a certificate, an Envoy that serves, policies' }
    metrics.read('ready', ready, () => Number(this.#read().ready))
    const expiry = {
      help: 'end of the certificate in use, seconds since 1970; 0: there is none (yet, or it ended): callers are refused',
    }
    metrics.read('svid_expiry_timestamp_seconds', expiry, () =>
      Math.floor((this.#read().identity?.notAfterMs ?? 0) / 1000),
    )
    const start = {
      help: 'when the last certificate came, seconds since 1970: with its end, what there is of its life. 0: none came yet',
    }
    metrics.read('svid_obtained_timestamp_seconds', start, () =>
      Math.floor(this.#read().svids.obtainedAtMs / 1000),
    )
    const obtained = {
      type: 'counter',
      help: 'certificates obtained, the first one and renewals',
    } as const
    metrics.read('svids_obtained_total', obtained, () => this.#read().svids.obtained)
    const failed = {
      type: 'counter',
      help: 'attempts to get or renew the certificate that failed; the old one stays while it is good',
    } as const
    metrics.read('svid_failures_total', failed, () => this.#read().svids.failed)
  }

  #declareConfiguration(): void {
    this.#serving(
      'xds_connected',
      '1: the xDS stream to the controller is open. 0: what is enforced stays',
      (s) => Number(s.isConnected),
    )
    this.#serving(
      'xds_in_sync',
      '1: Envoy enforces the newest configuration that came from the controller; 0: an earlier one, or none',
      (s) => Number(s.enforcedGeneration !== '' && s.enforcedGeneration === s.wantedGeneration),
    )
    this.#serving(
      'xds_refusals',
      'resources of the newest configuration that Envoy refuses',
      (s) => s.refusals,
    )
    this.#serving(
      'enforced_generation_hash',
      'first 13 hex digits of the enforced configuration’s content hash, as a number; 0: none. It changes when what is enforced does; equal numbers are equal configurations',
      (s) => hashNumber(s.enforcedGeneration),
    )
  }

  #declareBundles(): void {
    this.#serving(
      'bundle_revision_hash',
      'first 13 hex digits of the active policy bundle’s revision, as a number; 0: none',
      (s) => hashNumber(s.bundleRevision),
    )
    this.#serving(
      'bundle_in_sync',
      '1: the active bundle is the newest, as far as the sidecar knows; 0: the newest was refused, withheld, or could not be asked for',
      (s) => Number(s.bundles.isNewest),
    )
    this.#serving(
      'bundle_confirmed_timestamp_seconds',
      'when the controller last said which bundle is the newest, seconds since 1970; absent: not yet since the start',
      ({ bundles }) => toSeconds(bundles.confirmedAtMs),
    )
    this.#serving(
      'bundle_failures_total',
      'requests for the bundle that failed, or bundles that were refused; what is active stays',
      (s) => s.bundles.failures,
      'counter',
    )
    this.#serving(
      'clock_offset_seconds',
      'the controller’s clock minus this machine’s, as of the controller’s last answer about bundles (at most some 60 s ago while it is connected; a jump of this machine’s clock shows at once); absent: no answer yet',
      ({ bundles }) => (bundles.skewMs === undefined ? undefined : bundles.skewMs / 1000),
    )
  }

  #declareDecisions(): void {
    const { metrics } = this
    const tally = () => this.#read().serving?.tally
    const decisions = {
      type: 'counter',
      help: 'decisions; lane: rbac (by Envoy) or wasm (by the sidecar); result: allow or deny; policy: the one that decided, `default` for the default action, `guard/<name>`, `none` (nothing to decide by, or a failure before any policy), `other` (beyond 200 policies)',
      labels: ['policy', 'lane', 'result'],
    } as const
    metrics.read('decisions_total', decisions, () => decisionSamples(tally()))
    const failedOpen = {
      type: 'counter',
      help: 'requests that passed because a policy failed and says `onError: Allow`',
      labels: ['policy'],
    } as const
    metrics.read('failed_open_total', failedOpen, () => policySamples(tally(), 'failed open'))
    const shadow = {
      type: 'counter',
      help: 'requests that a policy in mode Shadow or with action AUDIT would have matched',
      labels: ['policy'],
    } as const
    metrics.read('shadow_matches_total', shadow, () => policySamples(tally(), 'shadow'))
  }

  #declareChecks(): void {
    const { metrics } = this
    const tally = () => this.#read().serving?.tally
    const errors = {
      type: 'counter',
      help: 'requests that were refused because a decision failed, by error code (errors.md); one that passed all the same (onError: Allow) is in failed_open_total',
      labels: ['code'],
    } as const
    metrics.read('decision_errors_total', errors, () =>
      [...(tally()?.errors ?? [])].flatMap(([code, value]) =>
        value > 0 || DECISION_CODES.has(code) ? [{ labels: { code }, value }] : [],
      ),
    )
    const durations = {
      type: 'histogram',
      help: 'time that the sidecar took for its decisions (lane wasm), from the request’s arrival to its record',
    } as const
    metrics.read('check_duration_seconds', durations, () => durationSamples(tally()))
    this.#serving(
      'check_workers_replaced_total',
      'times that the check worker was replaced: a policy took too long, it crashed, or its socket was gone',
      (s) => s.workersReplaced,
      'counter',
    )
  }

  #declareLosses(): void {
    this.#serving(
      'decisions_lost_total',
      'decisions that are not in the decision log: it could not be written, or Envoy’s buffer for its own (RBAC) overflowed while the sidecar stood still (counted at most 5 s later). What the sidecar itself can’t log it refuses (`ERR_DECISION_LOG`), and counts here too',
      (s) => s.decisionsLost,
      'counter',
    )
    this.#serving(
      'decision_log_gaps_total',
      'times that Envoy crashed or was killed while it served: Envoy’s own decisions (RBAC) of up to 200 ms before are not in the decision log, and dropped ones of up to 5 s before are not counted',
      (s) => s.decisionLogGaps,
      'counter',
    )
  }

  #declareLogsAndSpans(): void {
    this.#serving(
      'access_log_entries_total',
      'lines written to the access log',
      ({ access }) => access.written,
      'counter',
    )
    this.#serving(
      'access_log_lost_total',
      'lines that could not be written to the access log: disk full, or nobody reads the pipe',
      ({ access }) => access.lost,
      'counter',
    )
    this.#serving(
      'spans_exported_total',
      'spans that the collector took, Envoy’s and the sidecar’s own',
      ({ spans }) => spans.exported,
      'counter',
    )
    this.#serving(
      'spans_dropped_total',
      'spans that the collector did not get: it was away for 30 s, took too little (4 MiB wait at most), or refused them',
      ({ spans }) => spans.dropped,
      'counter',
    )
  }

  #declareEnvoy(): void {
    this.#serving('envoy_live', '1: Envoy runs and says that it is live', ({ envoy }) =>
      Number(envoy.isLive),
    )
    this.#serving(
      'envoy_restarts_total',
      'times that Envoy ended by itself and was started again',
      ({ envoy }) => envoy.restarts,
      'counter',
    )
    this.#serving(
      'envoy_crash_looping',
      '1: Envoy died quickly again and again, and is started ever later',
      ({ envoy }) => Number(envoy.isCrashLooping),
    )
    this.#serving(
      'envoy_scrape_failures_total',
      'scrapes that came without Envoy’s metrics, or with a part of them: it was away, too slow, or scraped by too many at once',
      (s) => s.envoyScrapeFailures,
      'counter',
    )
  }

  /** A metric without labels that is absent until something is served. */
  #serving(
    name: string,
    help: string,
    read: (serving: ServingReadings) => number | undefined,
    type: 'gauge' | 'counter' = 'gauge',
  ): void {
    this.metrics.read(name, { help, type }, () => {
      const { serving } = this.#read()
      return serving === undefined ? undefined : read(serving)
    })
  }
}

function decisionSamples(tally: Tally | undefined): readonly Sample[] {
  const kinds = OUTCOMES.flatMap((outcome) => {
    const [lane = '', result = ''] = outcome.split(' ')
    return result === 'allow' || result === 'deny' ? [{ outcome, lane, result }] : []
  })
  return [...(tally?.policies ?? [])].flatMap(([policy, counts]) =>
    kinds.flatMap(({ outcome, lane, result }) =>
      counts[outcome] === 0 ? [] : [{ labels: { policy, lane, result }, value: counts[outcome] }],
    ),
  )
}

/** Of every policy that can have it: only those of the set, so names with a slash that are no guard. */
function policySamples(tally: Tally | undefined, outcome: Outcome): readonly Sample[] {
  return [...(tally?.policies ?? [])].flatMap(([policy, counts]) =>
    counts[outcome] > 0 || (policy.includes('/') && !policy.startsWith('guard/'))
      ? [{ labels: { policy }, value: counts[outcome] }]
      : [],
  )
}

function durationSamples(tally: Tally | undefined): readonly Sample[] {
  if (tally === undefined) return []
  const { durations, durationSumSeconds } = tally
  return histogramSamples({ bounds: CHECK_BOUNDS, counts: durations, sum: durationSumSeconds })
}

function hashNumber(hash: string): number {
  return Number.parseInt(hash.slice(0, HASH_DIGITS), 16) || 0
}

function toSeconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000
}
