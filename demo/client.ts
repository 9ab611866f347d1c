/**
 * How the demo calls: raw bytes over plain TCP or TLS, so that what is sent is exactly what is written, and HTTP/2.
 * Out: the status (or how the connection ended), headers and body. Never throws for what a peer does.
 */
import http2 from 'node:http2'
import net from 'node:net'
import tls from 'node:tls'

export interface Reply {
  /** HTTP status; undefined when there was no HTTP answer. */
  readonly status: number | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Why there was no HTTP answer: `closed`, `refused`, an alert. */
  readonly ended: string
}

export interface RawRequest {
  readonly method?: string
  readonly path: string
  readonly host?: string
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string
}

export interface TlsIdentity {
  readonly cert?: string
  readonly key?: string
  /** Default: `http/1.1`. */
  readonly ALPNProtocols?: string[]
}

const TIMEOUT_MS = 5000

/** The request's bytes in HTTP/1.1, nothing normalised. */
export function toBytes(request: RawRequest, close = true): Buffer {
  const body = request.body ?? ''
  const lines = [
    `${request.method ?? 'GET'} ${request.path} HTTP/1.1`,
    `host: ${request.host ?? 'orders.shop'}`,
    ...(request.headers ?? []).map(([name, value]) => `${name}: ${value}`),
    ...(body === '' ? [] : [`content-length: ${Buffer.byteLength(body)}`]),
    ...(close ? ['connection: close'] : []),
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1')
}

function decodeChunked(body: string): string {
  let rest = body
  let out = ''
  for (;;) {
    const line = rest.indexOf('\r\n')
    const size = Number.parseInt(rest.slice(0, line), 16)
    if (line < 0 || !Number.isFinite(size) || size === 0) return out
    out += rest.slice(line + 2, line + 2 + size)
    rest = rest.slice(line + 2 + size + 2)
  }
}

/** An HTTP/1.1 answer out of its bytes. */
export function fromBytes(bytes: Buffer, ended: string): Reply {
  const text = bytes.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const match = /^HTTP\/1\.[01] (\d{3})/.exec(text)
  if (match === null || end < 0) return { status: undefined, headers: {}, body: text, ended }
  const headers: Record<string, string> = {}
  for (const line of text.slice(0, end).split('\r\n').slice(1)) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const raw = text.slice(end + 4)
  const body = headers['transfer-encoding'] === 'chunked' ? decodeChunked(raw) : raw
  return { status: Number(match[1]), headers, body, ended }
}

function connect(
  port: number,
  identity: TlsIdentity | undefined,
  localAddress: string | undefined,
): net.Socket {
  const from = localAddress === undefined ? {} : { localAddress }
  if (identity === undefined) return net.connect({ port, host: '127.0.0.1', ...from })
  // The caller is the attacker here: what the server shows doesn't matter to it.
  return tls.connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...from,
    ...identity,
  })
}

/** Whether an HTTP/1.1 answer of known length is all there: Envoy may keep the connection for a second after it. */
export function isWhole(bytes: Buffer): boolean {
  const text = bytes.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text.slice(0, end + 2))?.[1]
  return end >= 0 && length !== undefined && bytes.length >= end + 4 + Number(length)
}

/** Sends bytes and reads until the peer closes, or until `isEnough` of what came. */
export function exchange(
  port: number,
  bytes: Buffer,
  options: {
    readonly tls?: TlsIdentity
    readonly isEnough?: (bytes: Buffer) => boolean
    readonly localAddress?: string
  } = {},
): Promise<{ bytes: Buffer; ended: string }> {
  return new Promise((resolve) => {
    const socket = connect(port, options.tls, options.localAddress)
    const chunks: Buffer[] = []
    const finish = (ended: string) => {
      socket.destroy()
      resolve({ bytes: Buffer.concat(chunks), ended })
    }
    socket.setTimeout(TIMEOUT_MS, () => finish('no answer'))
    socket.on(options.tls === undefined ? 'connect' : 'secureConnect', () => socket.write(bytes))
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if (options.isEnough?.(Buffer.concat(chunks))) finish('enough')
    })
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message))
    socket.on('close', () => finish('closed'))
  })
}

/** One HTTP/1.1 request on a connection of its own. */
export async function request(
  port: number,
  what: RawRequest,
  identity?: TlsIdentity,
): Promise<Reply> {
  const options = { isEnough: isWhole, ...(identity === undefined ? {} : { tls: identity }) }
  const { bytes, ended } = await exchange(port, toBytes(what), options)
  return fromBytes(bytes, ended)
}

/** One HTTP/2 request (prior knowledge) on a session of its own. */
export function request2(port: number, what: RawRequest): Promise<Reply> {
  return new Promise((resolve) => {
    const session = http2.connect(`http://127.0.0.1:${port}`)
    const fail = (error: Error) => {
      session.destroy()
      resolve({ status: undefined, headers: {}, body: '', ended: error.message })
    }
    session.on('error', fail)
    const stream = session.request({
      ':method': what.method ?? 'GET',
      ':path': what.path,
      ':authority': what.host ?? 'orders.shop',
      ...Object.fromEntries(what.headers ?? []),
    })
    const headers: Record<string, string> = {}
    let body = ''
    stream.on('error', fail)
    stream.on('response', (h) => {
      for (const [name, value] of Object.entries(h)) headers[name] = String(value)
    })
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      body += chunk
    })
    stream.on('end', () => {
      session.close()
      resolve({ status: Number(headers[':status']), headers, body, ended: 'closed' })
    })
    stream.end(what.body)
  })
}
