/**
 * How the sidecar shows itself, part of the composition root: /healthz, /readyz and /metrics. In: the identity, and
 * what serves a workload as long as something does. Out: one server for the life of the process.
 */
import { type AskApp, type HealthFacts, HealthServer } from './adapters/http/health.ts'
import { SidecarMetrics } from './adapters/metrics/sidecar-metrics.ts'
import type { WorkloadIdentitySource } from './runtime/identity.ts'
import type { Shown } from './serve.ts'

export interface TelemetryOptions {
  /** `HOST:PORT`; undefined: nothing is served. */
  readonly address: string | undefined
  readonly identity: WorkloadIdentitySource
  readonly version: string
  readonly askApp?: AskApp
}

export class Telemetry {
  readonly #options: TelemetryOptions
  readonly #health: HealthServer | undefined
  #shown: Shown | undefined

  constructor(options: TelemetryOptions) {
    this.#options = options
    const { address, identity, version } = options
    const metrics = new SidecarMetrics()
    metrics.observe(() => {
      const { ready, identity: svid } = this.#facts()
      const serving = this.#shown?.readings()
      return { version, ready, identity: svid, svids: identity.counts(), serving }
    })
    if (address === undefined) return
    const source = {
      contentType: metrics.metrics.contentType,
      text: () => metrics.text(),
      envoyLines: () => this.#shown?.envoyLines() ?? NO_LINES,
    }
    this.#health = new HealthServer(address, () => this.#facts(), source, options.askApp)
  }

  /** Errors: ERR_CONFIG. */
  async start(): Promise<void> {
    await this.#health?.start()
  }

  async stop(): Promise<void> {
    await this.#health?.stop()
  }

  /** What serves a workload now; undefined: nothing does. */
  readonly show = (shown: Shown | undefined): void => {
    this.#shown = shown
  }

  #facts(): HealthFacts {
    return this.#shown?.facts() ?? waiting(this.#options.identity)
  }
}

const NO_LINES: AsyncIterable<string> = { async *[Symbol.asyncIterator]() {} }

/** Before there is a certificate there is nothing that could serve. */
function waiting(identity: WorkloadIdentitySource): HealthFacts {
  const problem = identity.problem()
  const detail =
    problem === undefined ? 'no identity yet' : `no identity: ${problem.message} [${problem.code}]`
  return { ready: false, detail, identity: undefined }
}
