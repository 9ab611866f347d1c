/**
 * The controller's metrics, all of them, declared in this one file. In: counts from where things happen, and what the
 * parts know of themselves at a scrape. Out: Prometheus text for /metrics, and the reference page.
 * Label values are types of resources, kinds, codes and outcomes: bounded sets that we wrote. Never a workload, a path,
 * a name or an id. Times are seconds.
 */
import { MESH_ERROR_CODES, PROBLEM_CODES, type Problem } from '../../../common/errors.ts'
import { TYPE_URLS } from '../../../common/xds.ts'
import { Metrics, type Sample } from '../../../host/metrics.ts'
import type { BundleResult } from '../../runtime/bundle-desk.ts'
import type { CompileResult, ProxyState } from '../../runtime/ports.ts'
import type { ReconcileFigures, View } from '../../runtime/reconcile.ts'

/** What is read at a scrape. */
export interface ControllerReadings {
  readonly figures: ReconcileFigures
  readonly view: View | undefined
  readonly proxies: readonly ProxyState[]
  /** Mistakes that are said of objects now, refusals by proxies among them. */
  readonly problems: readonly Problem[]
  /** Ends of the root and of the controller's own certificate, epoch milliseconds; undefined: no authority yet. */
  readonly certificates:
    | { readonly rootNotAfterMs: number; readonly ownNotAfterMs: number }
    | undefined
  readonly revokedCredentials: number
  /** Open xDS streams, and bytes written to them that their peers have not taken. */
  readonly xds: { readonly streams: number; readonly bufferedBytes: number }
  /** Epoch milliseconds. */
  readonly nowMs: number
}

const TYPES: ReadonlyMap<string, string> = new Map(
  Object.values(TYPE_URLS).map((url) => [url, url.slice(url.lastIndexOf('.') + 1)]),
)
const CODES: ReadonlySet<string> = new Set([...PROBLEM_CODES, ...MESH_ERROR_CODES])
const OTHER = 'other'

export class ControllerMetrics {
  readonly metrics = new Metrics('postern_controller_')
  #readings: () => ControllerReadings = () => {
    throw new Error('read before observe()')
  }
  /** Of the scrape under way. */
  #current: ControllerReadings | undefined

  readonly #passes = this.metrics.histogram('reconcile_duration_seconds', {
    help: 'length of passes over the manifests: read, decide, store, publish',
  })
  readonly #compiles = this.metrics.histogram('rego_compile_duration_seconds', {
    help: 'length of compilations of Rego to WASM by opa; result: ok, refused (the policy is wrong), failed (opa could not be run, is tried again)',
    labels: ['result'],
  })
  readonly #pushes = this.metrics.counter('xds_pushes_total', {
    help: 'xDS responses sent to proxies, by the type of their resources',
    labels: ['type'],
  })
  readonly #answers = this.metrics.counter('xds_answers_total', {
    help: 'verdicts of proxies on what was sent; answer: ack, or nack: the proxy refused it and keeps what it had',
    labels: ['type', 'answer'],
  })
  readonly #lag = this.metrics.histogram('xds_answer_duration_seconds', {
    help: 'time from a response to the proxy’s verdict on it',
    labels: ['type'],
  })
  readonly #issued = this.metrics.counter('svids_issued_total', {
    help: 'workload certificates signed; proof: token (the first one), credential (renewals and restarts), pod (its token), svid (alone, while the API server was away)',
    labels: ['proof'],
  })
  readonly #refused = this.metrics.counter('svids_refused_total', {
    help: 'requests for a certificate that got none, by error code (reference/errors.md)',
    labels: ['code'],
  })
  readonly #bundles = this.metrics.counter('bundle_answers_total', {
    help: 'answers to requests for policy bundles; result: sent, unchanged, withheld (the sidecar is too old), refused (not the peer’s own, or no request of ours), unavailable (nothing published yet)',
    labels: ['result'],
  })

  constructor() {
    for (const type of TYPES.values()) {
      this.#pushes({ type }, 0)
      for (const answer of ['ack', 'nack']) this.#answers({ type, answer }, 0)
    }
    for (const proof of ['token', 'credential', 'pod', 'svid']) this.#issued({ proof }, 0)
    this.#declareReconciling()
    this.#declareProxies()
    this.#declareCertificates()
    this.metrics.collectProcess()
  }

  /** `readings` is called once for each scrape. */
  observe(readings: () => ControllerReadings): void {
    this.#readings = readings
  }

  text(): Promise<string> {
    // Every metric is read before the first wait, so that one look serves them all.
    this.#current = this.#readings()
    return this.metrics.text()
  }

  #read(): ControllerReadings {
    return this.#current ?? this.#readings()
  }

  passed(seconds: number): void {
    this.#passes({}, seconds)
  }

  compiled(result: CompileResult | undefined, seconds: number): void {
    const name = result === undefined ? 'failed' : result.ok ? 'ok' : 'refused'
    this.#compiles({ result: name }, seconds)
  }

  pushed(typeUrl: string): void {
    this.#pushes({ type: TYPES.get(typeUrl) ?? OTHER })
  }

  /** `seconds` is undefined for a verdict that was changed later: it says nothing of the time. */
  answered(typeUrl: string, answer: 'ack' | 'nack', seconds: number | undefined): void {
    const type = TYPES.get(typeUrl) ?? OTHER
    this.#answers({ type, answer })
    if (seconds !== undefined) this.#lag({ type }, seconds)
  }

  attested(proof: 'token' | 'credential' | 'pod' | 'svid'): void {
    this.#issued({ proof })
  }

  refusedAttestation(code: string): void {
    this.#refused({ code: CODES.has(code) ? code : OTHER })
  }

  answeredBundle(result: BundleResult): void {
    this.#bundles({ result })
  }

  #declareReconciling(): void {
    const { metrics } = this
    const counter = { type: 'counter' } as const
    const reconciles = { ...counter, help: 'passes over the manifests' }
    metrics.read('reconciles_total', reconciles, () => this.#read().figures.passes)
    const failures = {
      ...counter,
      help: 'passes that failed (disk, CA) and are tried again. Mistakes in manifests are no failures',
    }
    metrics.read('reconcile_failures_total', failures, () => this.#read().figures.failures)
    const lastGood = {
      help: 'time since a pass went through. There is one pass for each change, so a quiet mesh’s age grows',
    }
    metrics.read('last_good_age_seconds', lastGood, () => {
      const { figures, nowMs } = this.#read()
      return ageSeconds(figures.lastGoodMs, nowMs)
    })
    const problems = {
      help: 'what `postern get problems` lists, by code; no series: none',
      labels: ['code'],
    } as const
    metrics.read('problems', problems, () => count(this.#read().problems, 'code', (p) => p.code))
    const inForce = { help: 'accepted objects by kind', labels: ['kind'] } as const
    metrics.read('objects_in_force', inForce, () =>
      count([...(this.#read().view?.inForce.values() ?? [])], 'kind', ({ object }) => object.kind),
    )
    const pending = {
      help: 'policies whose Rego is being compiled; until then their last good version is in force',
    }
    metrics.read('rego_pending', pending, () => this.#read().view?.settlement.pending.size)
  }

  #declareProxies(): void {
    const { metrics } = this
    const served = {
      help: 'workloads that there is configuration for; absent until a Mesh and its CertificateAuthority are there',
    }
    metrics.read('workloads_served', served, () => this.#read().view?.publication?.snapshots.size)
    metrics.read('generation_age_seconds', { help: 'age of what is served' }, () => {
      const { view, nowMs } = this.#read()
      return ageSeconds(view?.publishedAtMs, nowMs)
    })
    const connected = { help: 'sidecars that are connected' }
    metrics.read('proxies_connected', connected, () => connectedOf(this.#read()).length)
    const ready = { help: 'connected sidecars that say they are ready' }
    metrics.read(
      'proxies_ready',
      ready,
      () => connectedOf(this.#read()).filter((p) => p.ready).length,
    )
    const lagging = {
      help: 'connected sidecars that are behind what is served; in: ack (xDS not acknowledged as a whole), enforcement (listeners warm or drain), bundle (policies)',
      labels: ['in'],
    } as const
    metrics.read('proxies_lagging', lagging, () => laggingOf(this.#read()))
    const refusing = { help: 'connected sidecars that refuse something of what is served' }
    metrics.read(
      'proxies_refusing',
      refusing,
      () => connectedOf(this.#read()).filter((p) => p.nacks.length > 0).length,
    )
    metrics.read('xds_streams', { help: 'open xDS streams' }, () => this.#read().xds.streams)
    const buffered = { help: 'bytes written to xDS streams that their peers have not taken yet' }
    metrics.read('xds_buffered_bytes', buffered, () => this.#read().xds.bufferedBytes)
  }

  #declareCertificates(): void {
    const { metrics } = this
    const root = { help: 'end of the root certificate, seconds since 1970; absent: no authority' }
    metrics.read('root_expiry_timestamp_seconds', root, () =>
      toSeconds(this.#read().certificates?.rootNotAfterMs),
    )
    const own = { help: 'end of the controller’s own certificate, seconds since 1970' }
    metrics.read('svid_expiry_timestamp_seconds', own, () =>
      toSeconds(this.#read().certificates?.ownNotAfterMs),
    )
    const revoked = {
      help: 'workloads whose credential is revoked: it was used from a second place',
    }
    metrics.read('credentials_revoked', revoked, () => this.#read().revokedCredentials)
  }
}

function connectedOf({ proxies }: ControllerReadings): readonly ProxyState[] {
  return proxies.filter(({ connected }) => connected)
}

function laggingOf(readings: ControllerReadings): readonly Sample[] {
  const publication = readings.view?.publication
  if (publication === undefined) return []
  const behind = { ack: 0, enforcement: 0, bundle: 0 }
  for (const proxy of connectedOf(readings)) {
    const version = publication.snapshots.get(proxy.nodeId)?.version
    behind.ack += Number(proxy.ackedGeneration !== version)
    behind.enforcement += Number(proxy.enforcedGeneration !== version)
    behind.bundle += Number(
      proxy.bundleRevision !== publication.bundles.get(proxy.nodeId)?.revision,
    )
  }
  return Object.entries(behind).map(([part, value]) => ({ labels: { in: part }, value }))
}

function count<T>(
  items: readonly T[],
  label: string,
  labelOf: (item: T) => string,
): readonly Sample[] {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(labelOf(item), (counts.get(labelOf(item)) ?? 0) + 1)
  return [...counts].sort().map(([value, n]) => ({ labels: { [label]: value }, value: n }))
}

function ageSeconds(sinceMs: number | undefined, nowMs: number): number | undefined {
  return sinceMs === undefined || sinceMs === 0 ? undefined : Math.max(0, (nowMs - sinceMs) / 1000)
}

function toSeconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.floor(ms / 1000)
}
