/**
 * /healthz, /readyz and /metrics. In: a function that says how things are now. Out: answers; nothing else is served.
 * /healthz is 200 as long as the event loop turns: a restart would not bring an identity back, it would lose the key.
 * Source: Prometheus text exposition format 0.0.4.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MeshError } from '../../../common/errors.ts'

export interface HealthFacts {
  readonly ready: boolean
  readonly detail: string
  readonly identity: { readonly spiffeId: string; readonly notAfterMs: number } | undefined
  readonly controllerConnected: boolean
  readonly envoyRestarts: number
  readonly enforcedGeneration: string
  readonly bundleRevision: string
  readonly decisionsLost: number
  readonly decisionLogGaps: number
}

export class HealthServer {
  readonly name = 'health'
  readonly #server: Server
  readonly #address: string

  /** `address`: `HOST:PORT`. */
  constructor(address: string, facts: () => HealthFacts) {
    this.#address = address
    this.#server = createServer((req, res) => {
      const answer = req.method === 'GET' ? answerOf(req.url ?? '', facts()) : undefined
      const { status, type, body } = answer ?? {
        status: 404,
        type: 'text/plain',
        body: 'not found\n',
      }
      res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
    })
    this.#server.maxConnections = 64
  }

  /** Rejects with ERR_CONFIG when the address can't be listened on. */
  start(): Promise<void> {
    const colon = this.#address.lastIndexOf(':')
    const host = this.#address.slice(0, colon).replace(/^\[|\]$/g, '')
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        const message = `cannot serve health on ${this.#address}; free the port or choose another with --health`
        reject(new MeshError('ERR_CONFIG', message, { cause }))
      })
      this.#server.listen(Number(this.#address.slice(colon + 1)), host, resolve)
    })
  }

  port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

function answerOf(url: string, facts: HealthFacts): Answer | undefined {
  switch (url.split('?')[0]) {
    case '/healthz':
      return json(200, { identity: identityOf(facts), detail: facts.detail })
    case '/readyz':
      return json(facts.ready ? 200 : 503, { ready: facts.ready, detail: facts.detail })
    case '/metrics':
      return { status: 200, type: 'text/plain; version=0.0.4', body: metricsText(facts) }
  }
  return undefined
}

function identityOf({ identity }: HealthFacts): object {
  if (identity === undefined) return { state: 'none' }
  const { spiffeId, notAfterMs } = identity
  return { state: 'valid', spiffeId, notAfter: new Date(notAfterMs).toISOString() }
}

function json(status: number, value: object): Answer {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n` }
}

function metricsText(facts: HealthFacts): string {
  const { identity, enforcedGeneration, bundleRevision } = facts
  const metrics = [
    {
      name: 'postern_svid_expiry_timestamp_seconds',
      help: 'End of the certificate in use; 0: there is none.',
      value: Math.floor((identity?.notAfterMs ?? 0) / 1000),
    },
    {
      name: 'postern_controller_connected',
      help: 'Whether the xDS stream to the controller is open.',
      value: Number(facts.controllerConnected),
    },
    { name: 'postern_ready', help: 'Whether this proxy is ready.', value: Number(facts.ready) },
    {
      name: 'postern_envoy_restarts_total',
      help: 'Times that Envoy was started again.',
      value: facts.envoyRestarts,
      type: 'counter',
    },
    {
      name: 'postern_decisions_lost_total',
      help: 'Decisions that are not in the decision log.',
      value: facts.decisionsLost,
      type: 'counter',
    },
    {
      name: 'postern_decision_log_gaps_total',
      help: 'Ends of Envoy after which an unknown number of decisions is not in the decision log.',
      value: facts.decisionLogGaps,
      type: 'counter',
    },
    {
      name: 'postern_enforced_info',
      help: 'What is enforced.',
      labels: `{generation="${enforcedGeneration}",bundle="${bundleRevision}"}`,
      value: 1,
    },
  ]
  return metrics
    .map(({ name, help, type = 'gauge', labels = '', value }) =>
      [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, `${name}${labels} ${value}`, ''].join(
        '\n',
      ),
    )
    .join('')
}
