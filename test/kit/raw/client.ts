/**
 * Sends bytes that no client would and reads what comes back: the status of each answer, and whether the connection was
 * closed. HTTP/1.1 as text, HTTP/2 as frames. Waits until as many answers have come as are expected, or for the close.
 */
import type { Socket } from 'node:net'
import { FLAG, FRAME, type Frame, frame, onFrames, preface, statusOf } from '../h2-raw.ts'

/** Statuses in order of arrival; `reset`: the stream was reset, or the connection closed, without one. */
export type Answers = readonly (number | 'reset')[]

/** Interim answers (100) count. */
export function exchange1(socket: Socket, bytes: string, expected: number): Promise<Answers> {
  return new Promise((resolve) => {
    let text = ''
    let answers: number[] = []
    const done = (last: readonly 'reset'[]) => {
      socket.destroy()
      resolve([...answers, ...last])
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      answers = readStatuses(text)
      if (answers.length >= expected) done([])
    })
    socket.on('error', () => {})
    socket.on('close', () => done(answers.length < expected ? ['reset'] : []))
    socket.write(Buffer.from(bytes, 'latin1'))
  })
}

/** The statuses of all whole answers. */
function readStatuses(text: string): number[] {
  const statuses: number[] = []
  let rest = text
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(rest)?.[1] ?? 0)
    if (end === -1 || status === 0) return statuses
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(rest.slice(0, end))?.[1] ?? 0)
    const after = end + 4 + (status < 200 ? 0 : length)
    if (rest.length < after) return statuses
    statuses.push(status)
    rest = rest.slice(after)
  }
}

/** Frames behind the preface; one request, on stream 1. */
export function exchange2(socket: Socket, frames: Buffer): Promise<Answers> {
  return new Promise((resolve) => {
    let status: number | 'reset' = 'reset'
    const done = () => {
      socket.destroy()
      resolve([status])
    }
    onFrames(socket, (got) => {
      if (got.type === FRAME.settings && (got.flags & FLAG.ack) === 0) {
        socket.write(frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0)))
      }
      const isHead = got.type === FRAME.headers && got.stream === 1
      if (isHead && status === 'reset') status = statusOf(got.payload)
      if (isLast(got)) done()
    })
    socket.on('error', () => {})
    socket.on('close', done)
    socket.write(Buffer.concat([preface(), frames]))
  })
}

/** The answer's end, a reset of its stream, or the end of all streams. */
function isLast({ type, flags, stream }: Frame): boolean {
  if (type === FRAME.goaway) return true
  if (stream !== 1) return false
  const isAnswer = type === FRAME.headers || type === FRAME.data
  return type === FRAME.reset || (isAnswer && (flags & FLAG.endStream) !== 0)
}
