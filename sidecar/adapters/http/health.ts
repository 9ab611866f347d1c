/**
 * /healthz, /readyz, /metrics, and the app's probes. In: a function that says how things are now, and one that asks the app.
 * Out: answers; nothing else is served.
 * /healthz is 200 as long as the event loop turns: a restart would not bring an identity back, it would lose the key.
 * Source: Prometheus text exposition format 0.0.4.
 */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { MeshError } from '../../../common/errors.ts'

export interface HealthFacts {
  readonly ready: boolean
  readonly detail: string
  readonly identity: { readonly spiffeId: string; readonly notAfterMs: number } | undefined
}

export interface MetricsSource {
  readonly contentType: string
  /** The sidecar's own. */
  text(): Promise<string>
  /** Envoy's, behind them. Never throws. */
  envoyLines(): AsyncIterable<string>
}

/** By its path; undefined: there is no such probe. Never rejects. */
export type AskApp = (
  path: string,
) => Promise<{ readonly healthy: boolean; readonly detail: string } | undefined>

const APP_PROBES = '/app-health/'
const MAX_CONNECTIONS = 256
/** So that no other pod keeps the kubelet out. */
const MAX_OF_ADDRESS = 32
/** Of a request that doesn't come, and of a reader that doesn't read. */
const TIMEOUT_MS = 10_000

export class HealthServer {
  readonly name = 'health'
  readonly #server: Server
  readonly #address: string
  readonly #metrics: MetricsSource
  /** Connections, by who has them. */
  readonly #open = new Map<string, number>()

  /** `address`: `HOST:PORT`. */
  constructor(
    address: string,
    facts: () => HealthFacts,
    metrics: MetricsSource,
    askApp: AskApp = async () => undefined,
  ) {
    this.#address = address
    this.#metrics = metrics
    this.#server = createServer({ requestTimeout: TIMEOUT_MS }, (req, res) => {
      const path = req.method === 'GET' ? (req.url ?? '').split('?')[0] : undefined
      if (path === '/metrics') void this.#serveMetrics(res)
      else if (path?.startsWith(APP_PROBES)) void serveProbe(res, askApp(path))
      else send(res, answerOf(path, facts()))
    })
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('connection', (socket) => this.#count(socket))
    this.#server.timeout = TIMEOUT_MS
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

  #count(socket: Socket): void {
    const address = socket.remoteAddress ?? ''
    const count = (this.#open.get(address) ?? 0) + 1
    if (count > MAX_OF_ADDRESS) {
      socket.destroy()
      return
    }
    this.#open.set(address, count)
    socket.once('close', () => {
      const left = (this.#open.get(address) ?? 1) - 1
      if (left > 0) this.#open.set(address, left)
      else this.#open.delete(address)
    })
  }

  /** The reader sets the pace; one that leaves, or that stands still, ends it. */
  async #serveMetrics(res: ServerResponse): Promise<void> {
    const { contentType, text, envoyLines } = this.#metrics
    try {
      const own = await text()
      res.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store' })
      await pipeline(concat(own, envoyLines()), res)
    } catch {
      res.destroy()
    }
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

async function* concat(first: string, rest: AsyncIterable<string>): AsyncGenerator<string> {
  yield first
  yield* rest
}

interface Answer {
  readonly status: number
  readonly body: object
}

function answerOf(path: string | undefined, facts: HealthFacts): Answer | undefined {
  const { ready, detail } = facts
  switch (path) {
    case '/healthz':
      return { status: 200, body: { identity: identityOf(facts), detail } }
    case '/readyz':
      return { status: ready ? 200 : 503, body: { ready, detail } }
  }
  return undefined
}

async function serveProbe(res: ServerResponse, asked: ReturnType<AskApp>): Promise<void> {
  const answer = await asked
  send(res, answer && { status: answer.healthy ? 200 : 503, body: answer })
}

function send(res: ServerResponse, answer: Answer | undefined): void {
  const type = answer === undefined ? 'text/plain' : 'application/json'
  res.writeHead(answer?.status ?? 404, { 'content-type': type, 'cache-control': 'no-store' })
  res.end(answer === undefined ? 'not found\n' : `${JSON.stringify(answer.body)}\n`)
}

function identityOf({ identity }: HealthFacts): object {
  if (identity === undefined) return { state: 'none' }
  const { spiffeId, notAfterMs } = identity
  return { state: 'valid', spiffeId, notAfter: new Date(notAfterMs).toISOString() }
}
