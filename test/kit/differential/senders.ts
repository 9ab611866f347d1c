/**
 * Ways to send a random request to the bed: raw HTTP/1.1 and HTTP/2, over TCP or TLS with the peer's certificate.
 * Connections are kept and end with the test.
 */
import { once } from 'node:events'
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { PemPair } from './certificates.ts'
import { RawConnection, type RawResponse } from './http1.ts'
import type { RawRequest } from './random-request.ts'
import type { Scope } from './scope.ts'

export type Sender = (request: RawRequest, set: number, n: string) => Promise<RawResponse>

export interface Target {
  readonly tls: number
  readonly plaintext: number
  readonly pairs: Readonly<Record<string, PemPair>>
}

/** A connection as the peer: TCP, or TLS with its certificate. */
export async function openSocket(
  target: Target,
  request: Pick<RawRequest, 'peer' | 'sourceAddress'>,
  alpn?: string,
): Promise<Socket> {
  const port = request.peer === 'plaintext' ? target.plaintext : target.tls
  const socket = connect({ host: '127.0.0.1', port, localAddress: request.sourceAddress })
  await once(socket, 'connect')
  if (request.peer === 'plaintext') return socket
  const pair = target.pairs[request.peer]
  const secure = connectTls({
    socket,
    ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
    rejectUnauthorized: false,
    ...(pair === undefined ? {} : { cert: pair.certificate, key: pair.privateKey }),
  })
  await once(secure, 'secureConnect')
  return secure
}

/** Sends over one kept HTTP/1.1 connection for each peer and address, with the raw bytes of the request. */
export function http1Sender(t: Scope, target: Target): Sender {
  const connections = new Map<string, RawConnection>()
  t.teardown(() => {
    for (const connection of connections.values()) connection.close()
  })
  return (request, set, n) => {
    const { peer, sourceAddress, method, path, host, headers } = request
    const key = `${peer} ${sourceAddress}`
    const connection =
      connections.get(key) ?? new RawConnection(() => openSocket(target, request, 'http/1.1'))
    connections.set(key, connection)
    const lines = [
      `${method} ${path} HTTP/1.1`,
      `Host: ${host}`,
      `x-set: ${set}`,
      `x-n: ${n}`,
      ...headers.map(([name, value]) => `${name}: ${value}`),
      'Content-Length: 0',
    ]
    return connection.send(`${lines.join('\r\n')}\r\n\r\n`)
  }
}

/** Sends over one HTTP/2 session for each peer and address. */
export function http2Sender(t: Scope, target: Target): Sender {
  const sessions = new Map<string, ClientHttp2Session>()
  t.teardown(() => {
    for (const session of sessions.values()) session.destroy()
  })
  return async (request, set, n) => {
    const { peer, sourceAddress } = request
    const key = `${peer} ${sourceAddress}`
    let session = sessions.get(key)
    if (session === undefined || session.destroyed || session.closed) {
      const socket = await openSocket(target, request, 'h2')
      session = connectHttp2('http://h', { createConnection: () => socket })
      session.on('error', () => {})
      sessions.set(key, session)
    }
    return requestHttp2(session, request, set, n)
  }
}

/** A stream that Envoy resets counts as refused: status 0. */
function requestHttp2(
  session: ClientHttp2Session,
  { method, path, host, headers }: RawRequest,
  set: number,
  n: string,
): Promise<RawResponse> {
  const repeated = new Map<string, string[]>()
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    repeated.set(lower, [...(repeated.get(lower) ?? []), value])
  }
  const merged = {
    [constants.HTTP2_HEADER_METHOD]: method,
    [constants.HTTP2_HEADER_PATH]: path,
    [constants.HTTP2_HEADER_AUTHORITY]: host,
    [constants.HTTP2_HEADER_SCHEME]: 'http',
    'x-set': String(set),
    'x-n': n,
    ...Object.fromEntries(repeated),
  }
  return new Promise((resolve) => {
    let response: RawResponse = { status: 0, headers: new Map() }
    const stream = session.request(merged, { endStream: true })
    stream.on('response', (got) => {
      const seen = Object.entries(got).map(([k, v]) => [k, String(v)] as const)
      response = { status: Number(got[':status']), headers: new Map(seen) }
      stream.resume()
    })
    stream.on('error', () => {})
    stream.on('close', () => resolve(response))
  })
}
