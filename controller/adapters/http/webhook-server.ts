/**
 * The webhooks' HTTPS port: POST /inject and POST /validate, an AdmissionReview each. In: an answerer and a certificate that
 * may be exchanged while it serves. Out: reviews. Anyone in the cluster may reach it, so connections, bodies and time are bounded.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Logger } from 'pino'
import { MeshError } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import {
  type AdmissionRequest,
  readReview,
  toReview,
  type Verdict,
} from '../../core/admission/review.ts'

/** PEM. */
export interface ServingCertificate {
  readonly certificatePem: string
  readonly privateKeyPem: Secret<string>
}

export interface WebhookServerOptions {
  readonly host: string
  readonly port: number
  readonly certificate: ServingCertificate
  readonly inject: (request: AdmissionRequest) => Verdict
  readonly validate: (request: AdmissionRequest, signal: AbortSignal) => Promise<Verdict>
  readonly log: Logger
}

const MAX_CONNECTIONS = 256
/** Of one address: API servers are few, and nobody else shall take all. */
const MAX_PER_ADDRESS = 16
const MIB = 1024 * 1024
/**
 * What each path takes: bodies that are answered at once, and how long one may be. etcd takes objects of 1.5 MiB, and
 * a change has the old one beside the new. Neither path can crowd out the other.
 */
const LIMITS = {
  '/inject': { atOnce: 32, maxBytes: 2 * MIB },
  '/validate': { atOnce: 8, maxBytes: 6 * MIB },
} as const
type Path = keyof typeof LIMITS
const TIMEOUT_MS = 10_000
/** For a review to arrive as a whole: API servers send it at once. */
const BODY_MS = 2_000
/** How often Node looks whether headers and requests took too long; by default each 30 s. */
const CHECK_MS = 1_000
/** Of bodies that are being read, on each path: who sends slowly holds no place in the queue, and little memory. */
const MAX_READING_BYTES = 48 * MIB

class Refused extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export class WebhookServer {
  readonly name = 'webhooks'
  readonly #options: WebhookServerOptions
  readonly #server: Server
  readonly #atOnce: Record<Path, number> = { '/inject': 0, '/validate': 0 }
  /** Bytes of bodies that have not arrived as a whole. */
  readonly #reading: Record<Path, number> = { '/inject': 0, '/validate': 0 }
  readonly #byAddress = new Map<string, number>()

  constructor(options: WebhookServerOptions) {
    this.#options = options
    this.#server = createServer(
      {
        ...toContext(options.certificate),
        minVersion: 'TLSv1.2',
        handshakeTimeout: TIMEOUT_MS,
        requestTimeout: TIMEOUT_MS,
        headersTimeout: TIMEOUT_MS,
        connectionsCheckingInterval: CHECK_MS,
      },
      (request, response) => void this.#serve(request, response),
    )
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('tlsClientError', () => {})
    this.#server.on('connection', (socket: Socket) => this.#bound(socket))
  }

  /** Errors: ERR_CONFIG. */
  start(): Promise<void> {
    const { host, port } = this.#options
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        const message = `cannot listen on ${host}:${port}; free the port or choose another with --webhook`
        reject(new MeshError('ERR_CONFIG', message, { cause }))
      })
      this.#server.listen(port, host, () => resolve())
    })
  }

  port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** For connections from now on. */
  setCertificate(certificate: ServingCertificate): void {
    this.#server.setSecureContext(toContext(certificate))
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  #bound(socket: Socket): void {
    const address = socket.remoteAddress ?? ''
    const count = this.#byAddress.get(address) ?? 0
    if (count >= MAX_PER_ADDRESS) {
      socket.destroy()
      return
    }
    this.#byAddress.set(address, count + 1)
    socket.once('close', () => {
      const left = (this.#byAddress.get(address) ?? 1) - 1
      if (left > 0) this.#byAddress.set(address, left)
      else this.#byAddress.delete(address)
    })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {})
    try {
      const answer = JSON.stringify(await this.#answer(request, response))
      response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
    } catch (error) {
      const status = error instanceof Refused ? error.status : 500
      if (status === 500) this.#options.log.error({ err: error }, 'webhook failed')
      const text = error instanceof Refused ? error.message : 'internal error'
      // What is left of the body is not read.
      response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' })
      response.end(`${text}\n`)
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<object> {
    const path = (request.url ?? '').split('?')[0] ?? ''
    if (!isPath(path)) throw new Refused(404, 'not found')
    if (request.method !== 'POST') throw new Refused(405, 'only POST is answered')
    const review = readReview(await this.#read(request, path))
    if (review === undefined)
      throw new Refused(400, 'not an AdmissionReview of admission.k8s.io/v1')
    if (this.#atOnce[path] >= LIMITS[path].atOnce)
      throw new Refused(503, 'too many reviews at once')
    this.#atOnce[path] += 1
    try {
      const gone = new AbortController()
      response.on('close', () => gone.abort())
      const verdict =
        path === '/inject'
          ? this.#options.inject(review)
          : await this.#options.validate(review, gone.signal)
      this.#note(path, review, verdict)
      return toReview(review.uid, verdict)
    } finally {
      this.#atOnce[path] -= 1
    }
  }

  async #read(request: IncomingMessage, path: Path): Promise<string> {
    const timer = setTimeout(() => request.destroy(), BODY_MS)
    let held = 0
    try {
      return await readBody(request, LIMITS[path].maxBytes, (bytes) => {
        held += bytes
        this.#reading[path] += bytes
        if (this.#reading[path] > MAX_READING_BYTES)
          throw new Refused(503, 'too many reviews at once')
      })
    } catch (error) {
      throw error instanceof Refused ? error : new Refused(408, 'the review did not arrive')
    } finally {
      clearTimeout(timer)
      this.#reading[path] -= held
    }
  }

  #note(path: string, { uid, kind, namespace }: AdmissionRequest, verdict: Verdict): void {
    if (verdict.allowed) return
    const { message } = verdict
    this.#options.log.info({ path, uid, kind, namespace, reason: message }, 'admission refused')
  }
}

function isPath(path: string): path is Path {
  return Object.hasOwn(LIMITS, path)
}

async function readBody(
  request: IncomingMessage,
  maxBytes: number,
  take: (bytes: number) => void,
): Promise<string> {
  const tooLarge = new Refused(413, 'the review is too large')
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    take(chunk.length)
    if (bytes > maxBytes) throw tooLarge
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function toContext({ certificatePem, privateKeyPem }: ServingCertificate) {
  return { cert: certificatePem, key: privateKeyPem.reveal() }
}
