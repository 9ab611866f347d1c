/**
 * Health and metrics on a plain HTTP port: /healthz (the process runs), /readyz (something is published and served),
 * /metrics (Prometheus text). Reads only; says nothing of policies, names or keys.
 * Source: Prometheus exposition format 0.0.4.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MeshError } from '../../../common/errors.ts'
import type { Metric } from '../../runtime/metrics.ts'

export interface HealthOptions {
  readonly host: string
  readonly port: number
  /** Undefined: ready. Else why not. */
  readonly whyNotReady: () => string | undefined
  readonly metrics: () => readonly Metric[]
}

const PREFIX = 'postern_controller_'

export class HealthServer {
  readonly name = 'health'
  readonly #options: HealthOptions
  readonly #server: Server

  constructor(options: HealthOptions) {
    this.#options = options
    this.#server = createServer((request, response) => {
      const { status, type, body } = this.#answer(request.url ?? '')
      response.writeHead(status, { 'content-type': type }).end(body)
    })
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

  #answer(url: string): { status: number; type: string; body: string } {
    const text = (status: number, body: string) => ({
      status,
      type: 'text/plain',
      body: `${body}\n`,
    })
    switch (url.split('?')[0]) {
      case '/healthz':
        return text(200, 'ok')
      case '/readyz': {
        const why = this.#options.whyNotReady()
        return why === undefined ? text(200, 'ok') : text(503, why)
      }
      case '/metrics':
        return {
          status: 200,
          type: 'text/plain; version=0.0.4',
          body: format(this.#options.metrics()),
        }
      default:
        return text(404, 'not found')
    }
  }
}

function format(metrics: readonly Metric[]): string {
  return metrics
    .map(({ name, help, type, value }) => {
      const full = PREFIX + name
      return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${full} ${value}\n`
    })
    .join('')
}
