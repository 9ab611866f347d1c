/**
 * Servers in the controller's place that are none, or are broken: each on the controller's port for a while.
 * In: a kind and the port. Out: how often somebody came, and the way to stop.
 */
import { randomBytes } from 'node:crypto'
import { createServer as createHttp } from 'node:http'
import { createSecureServer, type ServerHttp2Stream } from 'node:http2'
import { createServer as createTcp, type Server, type Socket } from 'node:net'

export interface ServerIdentity {
  readonly certificateChainPem: string
  readonly privateKeyPem: string
}

export interface Garbage {
  /** Connections, or calls where there are some. */
  visits(): number
  stop(): Promise<void>
}

/** More than any message or bundle may have. */
const ENORMOUS_BYTES = 200 * 1024 * 1024

export async function serveHttp(port: number): Promise<Garbage> {
  let visits = 0
  const server = createHttp((_request, response) => response.end('hello'))
  server.on('connection', () => {
    visits += 1
  })
  return listen(server, port, () => visits)
}

/** `answer` is sent to whoever connects; without one it is silent. */
export async function serveBytes(port: number, answer?: () => Buffer): Promise<Garbage> {
  let visits = 0
  const server = createTcp((socket) => {
    visits += 1
    socket.on('error', () => {})
    if (answer !== undefined) socket.end(answer())
  })
  return listen(server, port, () => visits)
}

export function someBytes(): Buffer {
  return randomBytes(4096)
}

/** Speaks gRPC and HTTP as the controller does, with its identity or another's, and answers what is none. */
export async function serveBroken(
  port: number,
  identity: ServerIdentity,
  kind: 'truncated' | 'enormous',
): Promise<Garbage> {
  let visits = 0
  const server = createSecureServer({
    cert: identity.certificateChainPem,
    key: identity.privateKeyPem,
    allowHTTP1: true,
    requestCert: true,
    rejectUnauthorized: false,
  })
  server.on('sessionError', () => {})
  server.on('stream', (stream: ServerHttp2Stream) => {
    visits += 1
    stream.on('error', () => {})
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    if (kind === 'truncated') stream.end(Buffer.from([0, 0, 0, 255, 255, 1, 2, 3]))
    else pour(stream, Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]))
  })
  server.on('request', (request, response) => {
    if (request.httpVersionMajor !== 1) return
    visits += 1
    response.stream?.on('error', () => {})
    if (kind === 'truncated') {
      response.writeHead(200, { 'content-length': '1000' })
      response.write('half', () => request.socket.destroy())
    } else {
      response.writeHead(200)
      pour(response as never, Buffer.alloc(0))
    }
  })
  return listen(server as never, port, () => visits)
}

interface Sink {
  write(chunk: Buffer): boolean
  once(event: 'drain' | 'close', listener: () => void): void
  readonly destroyed: boolean
  destroy(): void
}

function pour(sink: Sink, head: Buffer): void {
  const chunk = Buffer.alloc(1024 * 1024)
  let left = ENORMOUS_BYTES
  sink.write(head)
  const more = () => {
    while (left > 0 && !sink.destroyed) {
      left -= chunk.length
      if (!sink.write(chunk)) return sink.once('drain', more)
    }
    sink.destroy()
  }
  more()
}

async function listen(server: Server, port: number, visits: () => number): Promise<Garbage> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    visits,
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
