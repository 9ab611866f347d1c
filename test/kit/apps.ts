/** Small apps to stand behind a proxy, and clients that call through one. All on 127.0.0.1. */
import { once } from 'node:events'
import { Agent, createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { createServer as createHttp2Server, connect as http2Connect } from 'node:http2'
import { connect, createServer as createTcpServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** What an echo app saw of a request. */
export interface Seen {
  readonly version: string
  readonly method: string
  readonly url: string
  readonly headers: Record<string, string>
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** Whether it came over a connection that had been used before. */
  readonly reused: boolean
}

type Teardown = Pick<Test, 'teardown'>

/** HTTP/1.1 app that answers with what it saw; it accepts upgrades and then sends back what it gets. */
export async function startHttpApp(t: Teardown, port: number): Promise<{ readonly seen: Seen[] }> {
  const seen: Seen[] = []
  const server = createServer((req, res) => {
    req.resume()
    seen.push(look(req))
    res.end(JSON.stringify(look(req)))
  })
  server.on('upgrade', (_, socket) => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    )
    socket.pipe(socket)
    socket.on('error', () => {})
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { seen }
}

/** HTTP/2 app without TLS. */
export async function startHttp2App(t: Teardown, port: number): Promise<void> {
  const server = createHttp2Server((req, res) => {
    req.resume()
    res.end(JSON.stringify(look(req)))
  })
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => sessions.add(session))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
}

/** TCP app that greets and sends back what it gets. */
export async function startTcpApp(t: Teardown, port: number): Promise<{ connections: number }> {
  const app = { connections: 0 }
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    app.connections++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.write('greeting ')
    socket.pipe(socket)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return app
}

function look(req: {
  readonly httpVersion: string
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly headers: IncomingHttpHeaders
}): Seen {
  const { httpVersion: version, method = '', url = '' } = req
  const headers = Object.entries(req.headers).map(([k, v]) => [k, String(v)] as const)
  return { version, method, url, headers: Object.fromEntries(headers) }
}

/** One HTTP/1.1 request, over `agent`'s kept connection when it is given, else over a connection of its own. */
export function callHttp(
  port: number,
  path: string,
  options: { readonly headers?: Record<string, string>; readonly agent?: Agent } = {},
): Promise<Answer> {
  const { headers = {}, agent = false } = options
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ host: '127.0.0.1', port, path, headers, agent }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part) => {
        text += part
      })
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, headers, text, reused: asked.reusedSocket })
      })
    })
    asked.on('error', reject).end()
  })
}

/** Keeps one connection open. */
export function keepConnection(t: Teardown): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  return agent
}

/** One HTTP/2 request over a connection of its own. */
export async function callHttp2(port: number, path: string): Promise<Answer> {
  const session = http2Connect(`http://127.0.0.1:${port}`)
  try {
    const stream = session.request({ ':path': path })
    const [head] = await once(stream, 'response')
    let text = ''
    for await (const part of stream.setEncoding('utf8')) text += part
    return { status: head[':status'], headers: head, text, reused: false }
  } finally {
    session.destroy()
  }
}

/** Sends `text` and gives what came back when `enough` holds of it or the other end has closed. */
export function talk(
  socket: Socket,
  text: string,
  enough: (heard: string) => boolean,
): Promise<{ readonly heard: string; readonly closed: boolean }> {
  return new Promise((resolve) => {
    let heard = ''
    const done = (closed: boolean) => {
      socket.destroy()
      resolve({ heard, closed })
    }
    socket.on('data', (part) => {
      heard += String(part)
      if (enough(heard)) done(false)
    })
    socket.on('error', () => done(true))
    socket.on('close', () => done(true))
    if (text !== '') socket.write(text)
  })
}

export function openTcp(port: number): Socket {
  return connect(port, '127.0.0.1')
}
