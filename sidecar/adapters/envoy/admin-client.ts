/**
 * Envoy's admin interface over its Unix socket. In: questions. Out: answers as values; an Envoy that does not answer
 * within 2 s counts as not there (undefined), which is never taken for ready.
 */
import { request } from 'node:http'
import { type EnvoyFacts, readStats, STATS_FILTER } from '../../core/envoy/stats.ts'

const TIMEOUT_MS = 2_000
const MAX_BYTES = 4 * 1024 * 1024
/** With ten thousand rules Envoy takes a second to write its configuration out. */
const DUMP_TIMEOUT_MS = 5_000

export class AdminClient {
  readonly #socketPath: string

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  /** Whether Envoy's state is LIVE; undefined: its main thread does not answer. */
  async isLive(): Promise<boolean | undefined> {
    const answer = await this.#ask('GET', '/ready')
    return answer === undefined ? undefined : answer.status === 200
  }

  async facts(): Promise<EnvoyFacts | undefined> {
    const answer = await this.#ask('GET', `/stats?filter=${encodeURIComponent(STATS_FILTER)}`)
    return answer?.status === 200 ? readStats(answer.body) : undefined
  }

  /** `1.40.0` out of `<hash>/1.40.0/Clean/RELEASE/BoringSSL`; empty when unknown. */
  async version(): Promise<string> {
    const answer = await this.#ask('GET', '/server_info')
    return /"version":\s*"[^/"]*\/([^/"]*)/.exec(answer?.body ?? '')?.[1] ?? ''
  }

  /** What Envoy has, with endpoints, as JSON text; undefined also when it is longer than `maxBytes`. */
  async configDump(maxBytes: number): Promise<string | undefined> {
    const bounds = { timeoutMs: DUMP_TIMEOUT_MS, maxBytes }
    const answer = await this.#ask('GET', '/config_dump?include_eds', bounds)
    return answer?.status === 200 ? answer.body : undefined
  }

  /** Tells clients to leave (`connection: close`, GOAWAY) and takes no new connections, while requests go on. */
  async drain(): Promise<void> {
    await this.#ask('POST', '/healthcheck/fail')
    await this.#ask('POST', '/drain_listeners')
  }

  /** Tells the clients of inbound listeners to leave, for as long as it runs, and closes nothing. Whether it was heard. */
  async drainInbound(): Promise<boolean> {
    const answer = await this.#ask('POST', '/drain_listeners?graceful&skip_exit&inboundonly')
    return answer?.status === 200
  }

  #ask(
    method: string,
    path: string,
    { timeoutMs, maxBytes } = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES },
  ): Promise<{ readonly status: number; readonly body: string } | undefined> {
    return new Promise((resolve) => {
      const req = request({
        socketPath: this.#socketPath,
        method,
        path,
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
      })
      req.on('error', () => resolve(undefined))
      req.on('response', (res) => {
        let body = ''
        res.setEncoding('utf8')
        res.on('data', (chunk: string) => {
          body += chunk
          if (body.length > maxBytes) req.destroy(new Error('answer is too long'))
        })
        res.on('error', () => resolve(undefined))
        res.on('end', () => resolve({ status: res.statusCode ?? 0, body }))
      })
      req.end()
    })
  }
}
