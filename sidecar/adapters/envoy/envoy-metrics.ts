/**
 * Envoy's own metrics over its admin socket, for a scrape of the sidecar. In: nothing. Out: lines, as they come; Envoy's
 * names only, so that none is taken for the sidecar's. Bounded in bytes, time and number at once: who can reach the
 * metrics port must not be able to keep Envoy's main thread busy. An Envoy that is away gives nothing.
 * Source: Envoy admin, `GET /stats/prometheus?usedonly&filter=`.
 */
import { type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'

/** Stats that operators look at. Envoy's some thousand others stay at its admin socket. */
const FILTER =
  '^(cluster|http|listener|tcp|server|listener_manager|cluster_manager|access_logs|overload|tracing)\\.'
const PATH = `/stats/prometheus?usedonly&filter=${encodeURIComponent(FILTER)}`
const TIMEOUT_MS = 5_000
const MAX_BYTES = 8 * 1024 * 1024
const MAX_AT_ONCE = 2
/** A sample, or what its metric is; every name of Envoy's begins so. */
const ENVOY_LINE = /^(?:# (?:TYPE|HELP) )?envoy_/

export class EnvoyMetrics {
  readonly #socketPath: string
  #atOnce = 0
  #failures = 0

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  /** Scrapes that got nothing of Envoy, or not all. */
  failures(): number {
    return this.#failures
  }

  /** Whole lines with their ends. Ends early when Envoy goes away or says too much; never throws. */
  async *lines(): AsyncGenerator<string> {
    if (this.#atOnce >= MAX_AT_ONCE) {
      this.#failures += 1
      return
    }
    this.#atOnce += 1
    let isWhole = false
    try {
      for await (const line of this.#read()) yield line
      isWhole = true
    } catch {
      // Envoy is away, or its answer was cut: what came stands.
    } finally {
      this.#atOnce -= 1
      if (!isWhole) this.#failures += 1
    }
  }

  async *#read(): AsyncGenerator<string> {
    const response = await this.#ask()
    try {
      if (response.statusCode !== 200) throw new Error(`envoy answers ${response.statusCode}`)
      let bytes = 0
      for await (const line of createInterface({ input: response })) {
        bytes += line.length + 1
        if (bytes > MAX_BYTES) throw new Error('envoy says too much')
        if (ENVOY_LINE.test(line)) yield `${line}\n`
      }
      if (!response.complete) throw new Error('cut off')
    } finally {
      response.destroy()
    }
  }

  #ask(): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const asked = request({
        ...{ socketPath: this.#socketPath, path: PATH, agent: false },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      asked.on('response', resolve).on('error', reject).end()
    })
  }
}
