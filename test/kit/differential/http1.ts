/**
 * A raw HTTP/1.1 client: sends the bytes that it is given, one request at a time, over one kept connection.
 * Reads no more of the answer than status, headers and the length of the body.
 */
import type { Socket } from 'node:net'

export interface RawResponse {
  readonly status: number
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>
}

export class RawConnection {
  readonly #open: () => Promise<Socket>
  #socket: Socket | undefined

  constructor(open: () => Promise<Socket>) {
    this.#open = open
  }

  /** Sends a whole request; opens the connection anew when it was closed. Bytes are latin1. */
  async send(request: string): Promise<RawResponse> {
    const isHead = request.startsWith('HEAD ')
    for (let attempt = 0; ; attempt++) {
      const socket = await this.#connect()
      try {
        const response = await exchange(socket, request, isHead)
        if (response.headers.get('connection') === 'close') this.close()
        return response
      } catch (error) {
        this.close()
        // A kept connection may have been closed by the other side just before.
        if (attempt > 0) throw error
      }
    }
  }

  close(): void {
    this.#socket?.destroy()
    this.#socket = undefined
  }

  async #connect(): Promise<Socket> {
    if (this.#socket === undefined || this.#socket.destroyed) this.#socket = await this.#open()
    return this.#socket
  }
}

function exchange(socket: Socket, request: string, isHead: boolean): Promise<RawResponse> {
  return new Promise((resolve, reject) => {
    let text = ''
    const finish = (result: RawResponse | Error) => {
      socket.off('data', onData).off('close', onClose).off('error', finish)
      if (result instanceof Error) reject(result)
      else resolve(result)
    }
    const onClose = () => finish(new Error(`closed after ${JSON.stringify(text)}`))
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const response = parse(text, isHead)
      if (response !== undefined) finish(response)
    }
    socket.on('data', onData).on('close', onClose).on('error', finish)
    socket.write(Buffer.from(request, 'latin1'))
  })
}

/** The response when `text` holds all of it. */
function parse(text: string, isHead: boolean): RawResponse | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )
  const length = isHead ? 0 : Number(headers.get('content-length') ?? 0)
  if (text.length < end + 4 + length) return undefined
  return { status: Number(statusLine.split(' ')[1]), headers }
}
