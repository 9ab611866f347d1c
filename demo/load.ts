/**
 * A steady load on connections that stay open: some HTTP/1.1 keep-alive, some HTTP/2. For drills and benchmarks.
 * In: port, rate, path. Out: every answer with its time, so that a drill can say what happened when.
 * Open loop: a request is sent when it is due, whatever came of the ones before.
 */
import http from 'node:http'
import http2 from 'node:http2'

export interface Answer {
  /** `performance.now()` when it was sent. */
  readonly sentAt: number
  readonly ms: number
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  /** Which connection carried it: `h1/0`, `h2/1`. */
  readonly connection: string
  /** Whether the connection was open before. */
  readonly reused: boolean
  /** Why there is no answer; for a status of 500 or more, what Envoy or the app said. */
  readonly error?: string
}

export interface LoadOptions {
  readonly port: number
  readonly path: string
  readonly method?: string
  readonly body?: string
  readonly host?: string
  readonly ratePerSecond: number
  /** Connections of each protocol. */
  readonly http1: number
  readonly http2: number
  readonly onAnswer?: (answer: Answer) => void
  /** Whether `answers` holds them all; false for long runs, which count them in `onAnswer`. Default true. */
  readonly isKept?: boolean
}

interface Connection {
  readonly name: string
  send(): Promise<Answer>
  close(): void
}

const TICK_MS = 5
const TIMEOUT_MS = 5000

function headersOf(options: LoadOptions): Record<string, string> {
  const { body } = options
  if (body === undefined) return {}
  return { 'content-type': 'application/json', 'content-length': `${Buffer.byteLength(body)}` }
}

const SAID_LENGTH = 160

/** Reads a body to its end; the function gives its beginning where the status says that a server failed. */
function readStart(body: NodeJS.ReadableStream): (status: number) => string | undefined {
  let text = ''
  body.on('data', (chunk: Buffer) => {
    if (text.length < SAID_LENGTH) text += chunk.toString('latin1')
  })
  return (status) => (status >= 500 ? text.slice(0, SAID_LENGTH) : undefined)
}

/** One HTTP/1.1 keep-alive connection; requests wait for each other, as on any such connection. */
export function openHttp1(name: string, options: LoadOptions): Connection {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const { port, path, method = 'GET', host = 'orders.shop' } = options
  const send = (): Promise<Answer> =>
    new Promise((resolve) => {
      const sentAt = performance.now()
      const finish = (status: number, reused: boolean, error?: string) => {
        const ms = performance.now() - sentAt
        const base = { sentAt, ms, status, connection: name, reused }
        resolve(error === undefined ? base : { ...base, error })
      }
      const request = http.request(
        {
          host: '127.0.0.1',
          port,
          path,
          method,
          agent,
          timeout: TIMEOUT_MS,
          headers: { host, ...headersOf(options) },
        },
        (response) => {
          const status = response.statusCode ?? 0
          const said = readStart(response)
          response.on('end', () => finish(status, request.reusedSocket, said(status)))
          response.on('error', (error) => finish(0, request.reusedSocket, error.message))
        },
      )
      request.on('timeout', () => request.destroy(new Error('no answer')))
      request.on('error', (error) => finish(0, request.reusedSocket, error.message))
      request.end(options.body)
    })
  return { name, send, close: () => agent.destroy() }
}

/** One HTTP/2 session with prior knowledge; opened again when the peer ended it. */
export function openHttp2(name: string, options: LoadOptions): Connection {
  const { port, path, method = 'GET', host = 'orders.shop' } = options
  let session: http2.ClientHttp2Session | undefined
  const open = (): [http2.ClientHttp2Session, boolean] => {
    if (session !== undefined && !session.closed && !session.destroyed) return [session, true]
    session = http2.connect(`http://127.0.0.1:${port}`)
    session.on('error', () => session?.destroy())
    session.on('goaway', () => session?.close())
    return [session, false]
  }
  const send = (): Promise<Answer> =>
    new Promise((resolve) => {
      const sentAt = performance.now()
      const [current, reused] = open()
      let status = 0
      const finish = (failure?: string, said?: string) => {
        const base = { sentAt, ms: performance.now() - sentAt, status, connection: name, reused }
        if (failure !== undefined) resolve({ ...base, status: 0, error: failure })
        else resolve(said === undefined ? base : { ...base, error: said })
      }
      const stream = current.request({
        ':method': method,
        ':path': path,
        ':authority': host,
        ...headersOf(options),
      })
      stream.setTimeout(TIMEOUT_MS, () => stream.close(http2.constants.NGHTTP2_CANCEL))
      stream.on('response', (headers) => {
        status = Number(headers[':status'])
      })
      stream.on('error', (error) => finish(error.message))
      const said = readStart(stream)
      stream.on('close', () => {
        if (status === 0) finish('stream closed without an answer')
        else finish(undefined, said(status))
      })
      stream.end(options.body)
    })
  return { name, send, close: () => session?.destroy() }
}

export interface Load {
  readonly answers: readonly Answer[]
  /** Stops sending and resolves when every answer is there. */
  stop(): Promise<readonly Answer[]>
}

/** Starts the load. Connections take turns. */
export function startLoad(options: LoadOptions): Load {
  const connections = [
    ...Array.from({ length: options.http1 }, (_, i) => openHttp1(`h1/${i}`, options)),
    ...Array.from({ length: options.http2 }, (_, i) => openHttp2(`h2/${i}`, options)),
  ]
  const answers: Answer[] = []
  const pending = new Set<Promise<void>>()
  const start = performance.now()
  let sent = 0
  const sendDue = () => {
    const due = Math.floor(((performance.now() - start) / 1000) * options.ratePerSecond)
    for (; sent < due; sent++) {
      const connection = connections[sent % connections.length]
      if (connection === undefined) return
      const answer = connection.send().then((a) => {
        if (options.isKept !== false) answers.push(a)
        options.onAnswer?.(a)
        pending.delete(answer)
      })
      pending.add(answer)
    }
  }
  const timer = setInterval(sendDue, TICK_MS)
  return {
    answers,
    async stop() {
      clearInterval(timer)
      await Promise.all(pending)
      for (const connection of connections) connection.close()
      return answers
    },
  }
}

/** The value below which `share` (0..1) of the numbers lie; NaN for none. */
export function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}
