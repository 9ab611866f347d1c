/**
 * Probes that are sent to the sidecar and meant for the app. In: a path that the kubelet asks for. Out: whether the app
 * answers as the kubelet would have it. Only what injection listed is called, at the pod's own address and from the
 * address by which the capture knows the proxy calling its app: no name, host or port comes from the request.
 * Source: k8s.io/kubernetes/pkg/probe (http, tcp, grpc).
 */
import { type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http'
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type IncomingHttpHeaders,
} from 'node:http2'
import { request as tlsRequest } from 'node:https'
import { connect } from 'node:net'
import type { AppProbe } from '../../../common/app-probe.ts'

export interface ProbeAnswer {
  readonly healthy: boolean
  /** What the app, or the way to it, said. Never what is in a body. */
  readonly detail: string
}

export interface AppProbesOptions {
  readonly probes: readonly AppProbe[]
  /** The pod's own. */
  readonly address: string
  /** Where calls come from. Default: what captures exempt, 127.0.0.6 or ::6. */
  readonly localAddress?: string
}

/** As the kubelet follows them, on the same host and port. */
const MAX_REDIRECTS = 10
const MAX_HEALTH_BYTES = 1024
/** HealthCheckResponse with status SERVING, in gRPC's frame. */
const SERVING = Buffer.of(0, 0, 0, 0, 2, 0x08, 1)

export class AppProbes {
  readonly #probes: ReadonlyMap<string, AppProbe>
  readonly #to: { readonly host: string; readonly localAddress: string }
  readonly #running = new Map<string, Promise<ProbeAnswer>>()

  constructor({ probes, address, localAddress }: AppProbesOptions) {
    this.#probes = new Map(probes.map((probe) => [probe.path, probe]))
    const fallback = address.includes(':') ? '::6' : '127.0.0.6'
    this.#to = { host: address, localAddress: localAddress ?? fallback }
  }

  /** Undefined: no such probe. Never rejects. Who asks while another waits gets that one's answer: the app is not flooded. */
  async ask(path: string): Promise<ProbeAnswer | undefined> {
    const probe = this.#probes.get(path)
    if (probe === undefined) return undefined
    const running = this.#running.get(path) ?? this.#start(probe)
    this.#running.set(path, running)
    return running
  }

  async #start(probe: AppProbe): Promise<ProbeAnswer> {
    try {
      return await this.#call(probe, AbortSignal.timeout((probe.timeoutSeconds ?? 1) * 1000))
    } catch (error) {
      return { healthy: false, detail: textOf(error) }
    } finally {
      this.#running.delete(probe.path)
    }
  }

  #call(probe: AppProbe, signal: AbortSignal): Promise<ProbeAnswer> {
    if (probe.kind === 'http') return this.#askHttp(probe, signal)
    return probe.kind === 'tcp' ? this.#askTcp(probe, signal) : this.#askGrpc(probe, signal)
  }

  async #askHttp(probe: AppProbe, signal: AbortSignal): Promise<ProbeAnswer> {
    const { scheme = 'HTTP', port, httpPath = '/' } = probe
    const origin = `${scheme.toLowerCase()}://${hostOf(this.#to.host)}:${port}`
    let path = httpPath
    for (let i = 0; i <= MAX_REDIRECTS; i++) {
      const response = await this.#get(probe, path, signal)
      response.destroy()
      const { statusCode: status = 0, headers } = response
      const next = nextPath(status, headers.location, new URL(path, origin))
      if (next === undefined) return { healthy: status >= 200 && status < 400, detail: `${status}` }
      path = next
    }
    return { healthy: false, detail: `more than ${MAX_REDIRECTS} redirects` }
  }

  #get(probe: AppProbe, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { scheme, port, headers = [] } = probe
    const request = scheme === 'HTTPS' ? tlsRequest : plainRequest
    const options: RequestOptions & { rejectUnauthorized: boolean } = {
      ...this.#to,
      port,
      path,
      signal,
      agent: false,
      rejectUnauthorized: false,
      headers: {
        'user-agent': 'kube-probe/postern',
        accept: '*/*',
        connection: 'close',
        ...collect(headers),
      },
    }
    return new Promise((resolve, reject) => {
      request(options).once('response', resolve).once('error', reject).end()
    })
  }

  #askTcp({ port }: AppProbe, signal: AbortSignal): Promise<ProbeAnswer> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...this.#to, port, signal })
      socket.once('error', reject).once('connect', () => {
        socket.destroy()
        resolve({ healthy: true, detail: 'connected' })
      })
    })
  }

  /** grpc.health.v1.Health/Check, over HTTP/2 by itself: grpc-js can't say from where it calls. */
  async #askGrpc({ port, grpcService = '' }: AppProbe, signal: AbortSignal): Promise<ProbeAnswer> {
    const { host } = this.#to
    const session = connectHttp2(`http://${hostOf(host)}:${port}`, {
      createConnection: () => connect({ ...this.#to, port, signal }),
    })
    try {
      const { status, body } = await checkHealth(session, grpcService, signal)
      const isServing = status === '0' && body.equals(SERVING)
      return { healthy: isServing, detail: isServing ? 'serving' : `grpc status ${status}` }
    } finally {
      session.destroy()
    }
  }
}

function checkHealth(session: ClientHttp2Session, service: string, signal: AbortSignal) {
  return new Promise<{ readonly status: string; readonly body: Buffer }>((resolve, reject) => {
    session.on('error', reject)
    const stream = session.request(
      {
        ':method': 'POST',
        ':path': '/grpc.health.v1.Health/Check',
        'content-type': 'application/grpc',
        te: 'trailers',
      },
      { signal },
    )
    let status = 'none'
    let body: Buffer = Buffer.alloc(0)
    const note = (headers: IncomingHttpHeaders) => {
      status = String(headers['grpc-status'] ?? status)
    }
    stream.on('response', note).on('trailers', note).on('error', reject)
    stream.on('data', (chunk: Buffer) => {
      if (body.length < MAX_HEALTH_BYTES) body = Buffer.concat([body, chunk])
    })
    stream.on('close', () => resolve({ status, body }))
    stream.end(toHealthRequest(service))
  })
}

/** HealthCheckRequest, service as its first field, in gRPC's frame. */
function toHealthRequest(service: string): Buffer {
  const name = Buffer.from(service)
  const field =
    name.length === 0 ? name : Buffer.concat([Buffer.of(0x0a, ...varint(name.length)), name])
  const frame = Buffer.alloc(5)
  frame.writeUInt32BE(field.length, 1)
  return Buffer.concat([frame, field])
}

function varint(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >> 7)]
}

/** The path to go on to, undefined: there is none, or it leads to another host or port, which counts as well. */
function nextPath(status: number, location: string | undefined, at: URL): string | undefined {
  if (status < 300 || status >= 400 || location === undefined) return undefined
  if (!URL.canParse(location, at)) return undefined
  const next = new URL(location, at)
  return next.origin === at.origin ? `${next.pathname}${next.search}` : undefined
}

/** A header that is given twice is sent twice. */
function collect(headers: NonNullable<AppProbe['headers']>): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = {}
  for (const { name, value } of headers) {
    const key = name.toLowerCase()
    const before = found[key]
    found[key] = before === undefined ? value : [before, value].flat()
  }
  return found
}

function hostOf(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}

function textOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code ?? message
}
