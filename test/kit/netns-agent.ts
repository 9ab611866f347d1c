/**
 * The program inside a network namespace that calls, and is called, for a test (netns.ts): SOCKET UID [APP…].
 * An APP is `http=ADDRESS:PORT` or `tcp=ADDRESS:PORT`; it says where it stands. Requests come over the Unix socket.
 */
import { createServer, type IncomingMessage, request } from 'node:http'
import { connect, createServer as createTcpServer } from 'node:net'

export interface Ask {
  readonly address: string
  readonly port: number
  /** Absent: a TCP connection that sends `hello`. */
  readonly host?: string
}

export interface Told {
  /** 0: no answer. */
  readonly status: number
  readonly text: string
}

/** An app, and the `Host` that it was called by (HTTP), or nothing. */
export interface AppSeen {
  readonly at: string
  readonly host: string
}

const seen: AppSeen[] = []

function startApp(spec: string): Promise<void> {
  const [kind = '', at = ''] = spec.split('=')
  const [host = '', port = ''] = at.split(':')
  const server =
    kind === 'http'
      ? createServer((req, res) => {
          seen.push({ at, host: req.headers.host ?? '' })
          res.end(at)
        })
      : createTcpServer((socket) => {
          seen.push({ at, host: '' })
          socket.on('error', () => {})
          socket.on('data', () => socket.end(at))
        })
  return new Promise((resolve) => server.listen(Number(port), host, resolve))
}

function callHttp({ address, port, host = '' }: Ask): Promise<Told> {
  return new Promise((resolve) => {
    const headers = { host }
    const asked = request({ host: address, port, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part) => {
        text += part
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    asked.on('error', (error) => resolve({ status: 0, text: error.message })).end()
  })
}

function callTcp({ address, port }: Ask): Promise<Told> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(port, address, () => socket.write('hello'))
    socket.on('data', (part) => {
      text += String(part)
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve({ status: text === '' ? 0 : 200, text }))
  })
}

async function answer(req: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const part of req) text += part
  const ask = JSON.parse(text) as Ask & { readonly seen?: boolean }
  if (ask.seen === true) return seen.splice(0)
  return ask.host === undefined ? callTcp(ask) : callHttp(ask)
}

const [socketPath = '', uid = '', ...apps] = process.argv.slice(2)
await Promise.all(apps.map(startApp))
const control = createServer(async (req, res) => {
  res.end(JSON.stringify(await answer(req)))
})
control.listen(socketPath, () => {
  if (uid !== '0') {
    process.setgroups?.([])
    process.setgid?.(Number(uid))
    process.setuid?.(Number(uid))
  }
  process.stdout.write('ready\n')
})
