/**
 * The API server over HTTPS, with the credentials of a kubeconfig or of the pod (@kubernetes/client-node keeps them
 * fresh). JSON in and out, nothing else of Kubernetes: no typed clients, whose copies of every object would cost more
 * than the objects. Every call has an end: a time limit, or an AbortSignal and a limit on silence.
 */

import { request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https'
import { createInterface } from 'node:readline'
import { KubeConfig } from '@kubernetes/client-node'
import { MeshError } from '../../../common/errors.ts'

export type Json = Readonly<Record<string, unknown>>

export interface KubeRequest {
  readonly body?: unknown
  /** Default: JSON. */
  readonly contentType?: string
  /** Default: JSON. */
  readonly accept?: string
  readonly signal?: AbortSignal
}

export interface KubeAnswer {
  readonly status: number
  /** The object, or the `Status` that says why not. */
  readonly body: Json
}

export interface WatchOptions {
  readonly signal: AbortSignal
  /** The watch is given up when nothing comes for so long, milliseconds. */
  readonly silenceMs: number
  /** Default: JSON. */
  readonly accept?: string
  readonly onEvent: (event: { readonly type: string; readonly object: Json }) => void
}

export interface KubeClient {
  /** Rejects with ERR_CONTROLLER_UNAVAILABLE when there is no answer; any answer is an answer. */
  request(method: string, path: string, request?: KubeRequest): Promise<KubeAnswer>
  /** Resolves when the server ends it. Rejects with KubeError for an answer that is none, or when it breaks. */
  watch(path: string, options: WatchOptions): Promise<void>
  close(): void
}

/** What the API server said in place of an answer. */
export class KubeError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

const REQUEST_TIMEOUT_MS = 30_000
const MAX_ANSWER_BYTES = 256 * 1024 * 1024

/** `kubeconfig` empty: the pod's own service account. Throws ERR_CONFIG. */
export function createKubeClient(kubeconfig: string): KubeClient {
  return new HttpKubeClient(loadConfig(kubeconfig))
}

function loadConfig(path: string): KubeConfig {
  const config = new KubeConfig()
  try {
    if (path === '') config.loadFromCluster()
    else config.loadFromFile(path)
  } catch (cause) {
    const message = `--kubeconfig ${path}: it can't be read: ${String(cause)}`
    throw new MeshError('ERR_CONFIG', message, { cause })
  }
  const server = config.getCurrentCluster()?.server
  if (server === undefined || !URL.canParse(server)) {
    const where = path === '' ? 'the environment of this pod' : path
    throw new MeshError('ERR_CONFIG', `--kubeconfig: ${where} names no API server`)
  }
  return config
}

class HttpKubeClient implements KubeClient {
  readonly #config: KubeConfig
  readonly #server: URL
  #agent: { readonly agent: Agent; readonly credentials: string } | undefined

  constructor(config: KubeConfig) {
    this.#config = config
    this.#server = new URL(config.getCurrentCluster()?.server ?? '')
  }

  async request(method: string, path: string, request: KubeRequest = {}): Promise<KubeAnswer> {
    const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
    const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout
    try {
      const response = await this.#send(method, path, { ...request, signal })
      const text = await readText(response)
      return { status: response.statusCode ?? 0, body: parse(text) }
    } catch (cause) {
      request.signal?.throwIfAborted()
      throw unreachable(cause)
    }
  }

  async watch(path: string, { signal, silenceMs, accept, onEvent }: WatchOptions): Promise<void> {
    const response = await this.#send('GET', path, { signal, ...(accept && { accept }) })
    if (response.statusCode !== 200) {
      const { message = '' } = parse(await readText(response)) as { message?: string }
      throw new KubeError(response.statusCode ?? 0, message)
    }
    response.setTimeout(silenceMs, () => response.destroy(new Error('nothing came for too long')))
    const broken = new Promise<never>((_, reject) => {
      response.once('error', reject)
      response.once('aborted', () => reject(new Error('the connection was cut')))
    })
    // Whoever awaits it may have gone by then.
    broken.catch(() => {})
    const read = async () => {
      for await (const line of createInterface({ input: response })) {
        if (line !== '') onEvent(JSON.parse(line) as { type: string; object: Json })
      }
    }
    try {
      const reading = read()
      reading.catch(() => {})
      await Promise.race([reading, broken])
    } finally {
      response.destroy()
    }
  }

  close(): void {
    this.#agent?.agent.destroy()
  }

  async #send(method: string, path: string, request: KubeRequest): Promise<IncomingMessage> {
    const options: RequestOptions = {}
    await this.#config.applyToHTTPSOptions(options)
    const body = request.body === undefined ? undefined : JSON.stringify(request.body)
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const isTls = this.#server.protocol === 'https:'
    const sent = (isTls ? httpsRequest : httpRequest)(new URL(join(this.#server, path)), {
      method,
      ...(isTls ? { agent: this.#agentFor(options) } : {}),
      ...(options.auth === undefined || options.auth === null ? {} : { auth: options.auth }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      headers: {
        ...(options.headers as Record<string, string> | undefined),
        accept: request.accept ?? 'application/json',
        'user-agent': 'postern-controller',
        ...(body === undefined
          ? {}
          : {
              'content-type': request.contentType ?? 'application/json',
              'content-length': Buffer.byteLength(body),
            }),
      },
    })
    sent.once('response', resolve).once('error', reject)
    sent.end(body)
    return promise
  }

  /** One for all, until a credential of the connection itself is another. */
  #agentFor({ ca, cert, key, rejectUnauthorized }: RequestOptions): Agent {
    const credentials = JSON.stringify([ca, cert, key, rejectUnauthorized].map(String))
    if (this.#agent?.credentials === credentials) return this.#agent.agent
    const given = { ca, cert, key, rejectUnauthorized }
    const options = Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined))
    const agent = new Agent({ ...options, keepAlive: true, maxFreeSockets: 4 })
    this.#agent = { agent, credentials }
    return agent
  }
}

function join(server: URL, path: string): string {
  return `${server.href.replace(/\/$/, '')}${path}`
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function parse(text: string): Json {
  return text.startsWith('{') ? (JSON.parse(text) as Json) : { message: text }
}

function unreachable(cause: unknown): MeshError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new MeshError('ERR_CONTROLLER_UNAVAILABLE', `the API server does not answer: ${why}`, {
    retry: 'backoff',
    cause,
  })
}
