/**
 * Connections of a real client that the transport drill follows: HTTP/1.1, websocket, an HTTP/2 stream, TCP; over mutual
 * TLS with an SVID of its own, straight at an inbound port. Each says what it heard and when it was closed.
 */
import { once } from 'node:events'
import http2 from 'node:http2'
import tls from 'node:tls'
import type { TlsIdentity } from '../demo/client.ts'

export interface Followed {
  readonly name: string
  readonly socket: tls.TLSSocket
  heard(): string
  /** Epoch milliseconds; undefined while it is open. */
  closedAtMs(): number | undefined
  readonly closed: Promise<void>
}

export function openTls(port: number, identity: TlsIdentity, alpn?: string): tls.TLSSocket {
  const ALPNProtocols = alpn === undefined ? [] : [alpn]
  const host = '127.0.0.1'
  return tls.connect({ host, port, rejectUnauthorized: false, ALPNProtocols, ...identity })
}

export function follow(name: string, socket: tls.TLSSocket): Followed {
  let heard = ''
  let closedAtMs: number | undefined
  socket.on('data', (part) => {
    heard += String(part)
  })
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) =>
    socket.once('close', () => {
      closedAtMs = Date.now()
      resolve()
    }),
  )
  return { name, socket, heard: () => heard, closedAtMs: () => closedAtMs, closed }
}

/** Sends and waits until what was heard ends with `answer`; false when it closed before. */
export async function exchange(one: Followed, text: string, answer = text): Promise<boolean> {
  one.socket.write(text)
  while (!one.heard().endsWith(answer)) {
    if (one.closedAtMs() !== undefined) return false
    await Promise.race([new Promise((resolve) => one.socket.once('data', resolve)), one.closed])
  }
  return true
}

export const UPGRADE =
  'GET /ws HTTP/1.1\r\nHost: db.shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'

/** A stream that sends back what it gets, as a bidirectional gRPC call would. */
export class EchoStream {
  readonly session: http2.ClientHttp2Session
  readonly #stream: http2.ClientHttp2Stream
  #heard = ''
  ended = false

  constructor(port: number, identity: TlsIdentity) {
    const createConnection = () => openTls(port, identity, 'h2')
    this.session = http2.connect(`https://127.0.0.1:${port}`, { createConnection })
    this.session.on('error', () => {})
    this.#stream = this.session.request(headersOf('/shop.Echo/Watch'))
    this.#stream.on('data', (part) => {
      this.#heard += String(part)
      this.#stream.emit('heard')
    })
    for (const event of ['error', 'close']) {
      this.#stream.on(event, () => {
        this.ended = true
        this.#stream.emit('heard')
      })
    }
  }

  async echoes(text: string): Promise<boolean> {
    if (this.ended) return false
    this.#stream.write(text)
    while (!this.#heard.endsWith(text)) {
      if (this.ended) return false
      await new Promise<void>((resolve) => this.#stream.once('heard', () => resolve()))
    }
    return true
  }

  /** gRPC status of another call on the same connection; `0` when it is answered. */
  async statusOf(path: string): Promise<string> {
    const stream = this.session.request(headersOf(path))
    stream.on('error', () => {})
    const [head] = await once(stream, 'response')
    stream.destroy()
    return String(head['grpc-status'] ?? '0')
  }

  close(): void {
    this.session.destroy()
  }
}

function headersOf(path: string): http2.OutgoingHttpHeaders {
  return { ':path': path, ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }
}
