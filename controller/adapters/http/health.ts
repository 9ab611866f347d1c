/**
 * Health and metrics on a plain HTTP port: /healthz (the process runs), /readyz (something is published and served),
 * /metrics (Prometheus text). Reads only; says nothing of policies, names or keys.
 * Source: Prometheus exposition format 0.0.4.
 */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MeshError } from '../../../common/errors.ts'

export interface HealthOptions {
  readonly host: string
  readonly port: number
  /** Undefined: ready. Else why not. */
  readonly whyNotReady: () => string | undefined
  /** Prometheus text. */
  readonly metrics: { readonly contentType: string; text(): Promise<string> }
}

/** Whoever can reach the port can open connections: few are enough, and one that is silent ends. */
const MAX_CONNECTIONS = 64
const REQUEST_TIMEOUT_MS = 10_000

export class HealthServer {
  readonly name = 'health'
  readonly #options: HealthOptions
  readonly #server: Server

  constructor(options: HealthOptions) {
    this.#options = options
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      void this.#serve(request.method === 'GET' ? (request.url ?? '') : '', response)
    })
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  /** Errors: ERR_CONFIG. */
  start(): Promise<void> {
    const { host, port } = this.#options
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        const message = `cannot listen on ${host}:${port}; free the port or choose another with --health`
        reject(new MeshError('ERR_CONFIG', message, { cause }))
      })
      this.#server.listen(port, host, () => resolve())
    })
  }

  port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  async #serve(url: string, response: ServerResponse): Promise<void> {
    const { status, type, body } = await this.#answer(url).catch(() => FAILED)
    response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
  }

  async #answer(url: string): Promise<Answer> {
    const { whyNotReady, metrics } = this.#options
    switch (url.split('?')[0]) {
      case '/healthz':
        return text(200, 'ok')
      case '/readyz': {
        const why = whyNotReady()
        return why === undefined ? text(200, 'ok') : text(503, why)
      }
      case '/metrics':
        return { status: 200, type: metrics.contentType, body: await metrics.text() }
      default:
        return text(404, 'not found')
    }
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

const FAILED = text(500, 'failed')

function text(status: number, body: string): Answer {
  return { status, type: 'text/plain', body: `${body}\n` }
}
