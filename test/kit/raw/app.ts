/**
 * An app that keeps what it is sent, byte for byte, before it reads anything: no HTTP library could hide a second request
 * from it. Reads HTTP/1.1 as RFC 9112 says and nothing else; what it can't read is kept as garbage. Answers 200.
 */
import { once } from 'node:events'
import { createServer as createHttp2Server } from 'node:http2'
import { createServer, type Socket } from 'node:net'
import type { Scope } from '../differential/scope.ts'

export interface Arrival {
  readonly method: string
  readonly target: string
  /** As sent, in order; names in lower case. */
  readonly headers: readonly (readonly [string, string])[]
  readonly trailers: readonly (readonly [string, string])[]
  readonly body: string
}

export interface RawApp {
  readonly arrivals: Arrival[]
  /** Whose connection ended before their body did. */
  readonly cut: Arrival[]
  /** Bytes that are no request. */
  readonly garbage: string[]
}

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

export async function startRawApp(t: Scope, port: number): Promise<RawApp> {
  const app: RawApp = { arrivals: [], cut: [], garbage: [] }
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      for (let read = readRequest(text); read !== undefined; read = readRequest(text)) {
        text = read.rest
        if (read.arrival === undefined) app.garbage.push(read.bytes)
        else app.arrivals.push(read.arrival)
        socket.write(ANSWER)
      }
    })
    socket.on('close', () => {
      const cut = text === '' ? undefined : readHead(text)
      if (cut !== undefined) app.cut.push({ ...cut, trailers: [], body: '' })
      else if (text !== '') app.garbage.push(text)
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return app
}

/** The same over HTTP/2 without TLS, by Node's library: what a gRPC app is given. */
export async function startRawHttp2App(t: Scope, port: number): Promise<RawApp> {
  const app: RawApp = { arrivals: [], cut: [], garbage: [] }
  const sessions = new Set<{ destroy(): void }>()
  const server = createHttp2Server((req, res) => {
    let body = ''
    req.setEncoding('latin1').on('data', (part) => {
      body += part
    })
    req.on('end', () => {
      const pairs = (raw: readonly string[]) =>
        raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1] ?? ''] as const] : []))
      const headers = pairs(req.rawHeaders)
      const trailers = pairs(req.rawTrailers)
      const { method, url: target } = req
      app.arrivals.push({ method, target, headers, trailers, body })
      res.end('ok')
    })
  })
  server.on('session', (session) => sessions.add(session))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return app
}

interface Read {
  /** Undefined: what stands there is no request. */
  readonly arrival: Arrival | undefined
  readonly bytes: string
  readonly rest: string
}

/** The first request of the text; undefined while it isn't whole. */
function readRequest(text: string): Read | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const bad = { arrival: undefined, bytes: text, rest: '' }
  const head = readHead(text)
  if (head === undefined) return bad
  const body = readBody(head.headers, text.slice(end + 4))
  if (body === 'bad') return bad
  if (body === undefined) return undefined
  const arrival = { ...head, trailers: body.trailers, body: body.body }
  return { arrival, bytes: text.slice(0, text.length - body.rest.length), rest: body.rest }
}

/** Request line and headers; undefined when they aren't what RFC 9112 says. */
function readHead(text: string): Pick<Arrival, 'method' | 'target' | 'headers'> | undefined {
  const end = text.indexOf('\r\n\r\n')
  const [line = '', ...lines] = text.slice(0, Math.max(end, 0)).split('\r\n')
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\xff]+) HTTP\/1\.1$/.exec(line)
  const fields = lines.map(readField).filter((field) => field !== undefined)
  if (match === null || fields.length < lines.length || /[\r\n\0]/.test(lines.join(''))) {
    return undefined
  }
  const [, method = '', target = ''] = match
  return { method, target, headers: fields }
}

function readField(line: string): readonly [string, string] | undefined {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/s.exec(line)
  return match === null ? undefined : [(match[1] ?? '').toLowerCase(), match[2] ?? '']
}

interface Body {
  readonly body: string
  readonly trailers: readonly (readonly [string, string])[]
  readonly rest: string
}

function readBody(
  fields: readonly (readonly [string, string])[],
  text: string,
): Body | 'bad' | undefined {
  const of = (name: string) => fields.filter(([n]) => n === name).map(([, value]) => value)
  const [lengths, codings] = [of('content-length'), of('transfer-encoding')]
  if (lengths.length + codings.length > 1) return 'bad'
  if (codings.length === 1) return codings[0] === 'chunked' ? readChunks(text) : 'bad'
  const length = Number(lengths[0] ?? 0)
  if (text.length < length) return undefined
  return { body: text.slice(0, length), trailers: [], rest: text.slice(length) }
}

function readChunks(text: string): Body | 'bad' | undefined {
  let rest = text
  let body = ''
  for (;;) {
    const line = rest.indexOf('\r\n')
    if (line === -1) return undefined
    const size = /^[0-9a-fA-F]+$/.test(rest.slice(0, line)) ? Number.parseInt(rest, 16) : -1
    if (size < 0) return 'bad'
    rest = rest.slice(line + 2)
    if (size === 0) break
    if (rest.length < size + 2) return undefined
    body += rest.slice(0, size)
    rest = rest.slice(size + 2)
  }
  const end = rest.startsWith('\r\n') ? -2 : rest.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const lines = end === -2 ? [] : rest.slice(0, end).split('\r\n')
  const trailers = lines.map(readField).filter((field) => field !== undefined)
  return { body, trailers, rest: rest.slice(end + 4) }
}
