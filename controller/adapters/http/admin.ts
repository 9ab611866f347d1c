/**
 * The admin API for the `postern` command line: HTTP/JSON on a Unix socket that only the controller's user can open.
 * Objects come in the shape of a Kubernetes API (Kind, KindList); nothing but join tokens is ever made here.
 */
import { chmod, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { MeshError, type Problem } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import type { ObjectKey } from '../../core/accept/objects.ts'
import { KINDS, type KindInfo, type PosternObject } from '../../core/crd/index.ts'
import type { Log } from '../../runtime/ports.ts'

export interface AdminOptions {
  readonly socketPath: string
  readonly objects: () => ReadonlyMap<ObjectKey, PosternObject>
  readonly problems: () => readonly Problem[]
  /** By the first word of a path: what is answered to the words that follow it. Undefined: there is no such thing. */
  readonly views: Readonly<Record<string, View>>
  readonly createJoinToken: (request: {
    readonly workload: string
    readonly ttlSeconds?: number
  }) => Promise<{ readonly token: Secret<string>; readonly expiresMs: number }>
  readonly log: Log
}

export type View = (words: readonly string[]) => unknown

const API_VERSION = 'postern.dev/v1alpha1'
const MAX_BODY_BYTES = 64 * 1024
/** Origin: `sun_path` of unix(7), less its end. */
const MAX_SOCKET_PATH = 107
const OBJECTS = /^\/apis\/postern\.dev\/v1alpha1(?:\/namespaces\/([^/]+))?\/([^/]+)(?:\/([^/]+))?$/

const STATUS: Readonly<Record<string, number>> = {
  ERR_CONFIG: 400,
  ERR_WORKLOAD_NOT_FOUND: 404,
  ERR_NOT_FOUND: 404,
}

interface Answer {
  readonly status: number
  readonly body: unknown
}

export class AdminServer {
  readonly name = 'admin'
  readonly #options: AdminOptions
  readonly #server: Server

  constructor(options: AdminOptions) {
    this.#options = options
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  /** The folder above must be the controller's own (0700); a socket left behind is replaced. Errors: ERR_CONFIG. */
  async start(): Promise<void> {
    const { socketPath, log } = this.#options
    if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH) {
      const message = `the socket path ${socketPath} has more than ${MAX_SOCKET_PATH} bytes; give a shorter --state`
      throw new MeshError('ERR_CONFIG', message)
    }
    await rm(socketPath, { force: true })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) => {
        reject(new MeshError('ERR_CONFIG', `cannot listen on ${socketPath}`, { cause }))
      })
      this.#server.listen(socketPath, () => {
        this.#server.on('error', (err) => log.error({ err }, 'admin server failed'))
        resolve()
      })
    })
    await chmod(socketPath, 0o600)
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
    await rm(this.#options.socketPath, { force: true })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body } = await this.#answer(request).catch((error: unknown) =>
      this.#fail(error),
    )
    const text = JSON.stringify(body)
    response.writeHead(status, { 'content-type': 'application/json' }).end(text)
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const path = (request.url ?? '').split('?')[0] ?? ''
    if (path === '/tokens') {
      return request.method === 'POST' ? this.#createToken(request) : notAllowed('POST')
    }
    if (request.method !== 'GET') return notAllowed('GET')
    if (path === '/problems') return ok({ items: this.#options.problems() })
    return path.startsWith('/apis/') ? this.#objects(path) : await this.#view(path)
  }

  async #view(path: string): Promise<Answer> {
    const [name = '', ...words] = path.slice(1).split('/')
    const { views } = this.#options
    const view = Object.hasOwn(views, name) ? views[name] : undefined
    const body = await view?.(words.map((word) => decode(word) ?? ''))
    return body === undefined ? notFound('there is no such path') : ok(body)
  }

  #objects(path: string): Answer {
    const [, ...parts] = OBJECTS.exec(path) ?? []
    const [namespace, plural, name] = parts.map(decode)
    const kind = KINDS.find((k) => k.plural === plural)
    if (kind === undefined) return notFound('there is no such path')
    const found = [...this.#options.objects().values()].filter(
      (o) =>
        o.kind === kind.kind &&
        (!kind.namespaced || namespace === undefined || o.metadata.namespace === namespace),
    )
    if (name === undefined) return ok(listOf(kind, found))
    const object = found.find((o) => o.metadata.name === name)
    return object === undefined ? notFound(`there is no ${kind.singular} "${name}"`) : ok(object)
  }

  async #createToken(request: IncomingMessage): Promise<Answer> {
    const asked = parseTokenRequest(await readBody(request))
    const { token, expiresMs } = await this.#options.createJoinToken(asked)
    const expires = new Date(expiresMs).toISOString()
    return { status: 201, body: { token: token.reveal(), expires } }
  }

  #fail(error: unknown): Answer {
    if (error instanceof MeshError) {
      const status = STATUS[error.code] ?? 503
      return { status, body: { code: status, reason: error.code, message: error.message } }
    }
    this.#options.log.error({ err: error, code: 'ERR_INTERNAL' }, 'admin request failed')
    return { status: 500, body: { code: 500, reason: 'ERR_INTERNAL', message: 'see the log' } }
  }
}

/** A part that is no valid percent-encoding names nothing. */
function decode(part: string | undefined): string | undefined {
  try {
    return part && decodeURIComponent(part)
  } catch {
    return ''
  }
}

function listOf(kind: KindInfo, items: readonly PosternObject[]): object {
  return { apiVersion: API_VERSION, kind: `${kind.kind}List`, metadata: {}, items }
}

function parseTokenRequest(text: string): { workload: string; ttlSeconds?: number } {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw new MeshError('ERR_CONFIG', 'the body must be JSON')
  }
  const { workload, ttlSeconds } = (body ?? {}) as { workload?: unknown; ttlSeconds?: unknown }
  if (typeof workload !== 'string') {
    throw new MeshError('ERR_CONFIG', 'give "workload", the namespace/name of a WorkloadEntry')
  }
  if (ttlSeconds === undefined) return { workload }
  if (typeof ttlSeconds !== 'number')
    throw new MeshError('ERR_CONFIG', '"ttlSeconds" must be a number')
  return { workload, ttlSeconds }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) throw new MeshError('ERR_CONFIG', 'the body is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

const ok = (body: unknown): Answer => ({ status: 200, body })
const notFound = (message: string): Answer => ({ status: 404, body: { code: 404, message } })
const notAllowed = (method: string): Answer => ({
  status: 405,
  body: { code: 405, message: `only ${method} is served here` },
})
