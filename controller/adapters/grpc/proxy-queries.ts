/**
 * Questions to one sidecar over its ProxyStatus stream, and their answers put together: one at a time, bounded in size
 * and time. In: questions of operators. Out: the answer as JSON. What a sidecar says is data; it changes nothing here.
 * Source: proto/postern/proxy/v1alpha1/proxy.proto.
 */
import { randomUUID } from 'node:crypto'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { type ErrorCode, MESH_ERROR_CODES, MeshError } from '../../../common/errors.ts'
import type {
  ProxyQuerySchema,
  QueryAnswer,
} from '../../../proto/gen/postern/proxy/v1alpha1/proxy_pb.js'

type Query = MessageInitShape<typeof ProxyQuerySchema>
export type Question = NonNullable<Query['question']>

/** Origin: a config dump with 10,000 rules is some 10 MB; more is nothing that a person reads. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024
/** A sidecar gives its Envoy 5 s. */
const ANSWER_MS = 10_000
/** Operators that wait for their turn at one proxy. */
const MAX_WAITING = 8

interface Open {
  readonly id: string
  readonly parts: Uint8Array[]
  bytes: number
  readonly answer: PromiseWithResolvers<unknown>
}

export class ProxyQueries {
  readonly #send: (query: Query) => void
  #open: Open | undefined
  #waiting = 0
  #turn: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(send: (query: Query) => void) {
    this.#send = send
  }

  /** Errors: ERR_PROXY_UNAVAILABLE (gone, busy, no answer in 10 s), ERR_ANSWER_TOO_LARGE, or the sidecar's own code. */
  ask(question: Question): Promise<unknown> {
    if (this.#waiting >= MAX_WAITING) {
      throw unavailable('too many questions wait for this proxy; ask again later')
    }
    this.#waiting += 1
    const answer = this.#turn.then(() => this.#askNow(question))
    this.#turn = answer.catch(() => undefined).finally(() => (this.#waiting -= 1))
    return answer
  }

  take(part: QueryAnswer): void {
    const open = this.#open
    // An answer that came too late, or to nobody's question.
    if (open === undefined || part.id !== open.id) return
    if (part.errorCode !== '') {
      const code = MESH_ERROR_CODES.find((c) => c === part.errorCode) ?? 'ERR_INTERNAL'
      open.answer.reject(new MeshError(code, part.error.slice(0, 1024)))
      return
    }
    open.bytes += part.part.length
    if (open.bytes > MAX_ANSWER_BYTES) {
      open.answer.reject(tooLarge())
      return
    }
    open.parts.push(part.part)
    if (part.isLast) open.answer.resolve(undefined)
  }

  /** The stream ended. */
  close(): void {
    this.#isClosed = true
    this.#open?.answer.reject(unavailable('the sidecar went away before it answered'))
  }

  async #askNow(question: Question): Promise<unknown> {
    if (this.#isClosed) throw unavailable('the sidecar went away before it was asked')
    const answer = Promise.withResolvers<unknown>()
    const open: Open = { id: randomUUID(), parts: [], bytes: 0, answer }
    this.#open = open
    const timer = setTimeout(
      () => answer.reject(unavailable(`no answer in ${ANSWER_MS / 1000} s`)),
      ANSWER_MS,
    )
    try {
      this.#send({ id: open.id, maxBytes: MAX_ANSWER_BYTES, question })
      await answer.promise
      return parse(open.parts)
    } finally {
      clearTimeout(timer)
      this.#open = undefined
    }
  }
}

function parse(parts: readonly Uint8Array[]): unknown {
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'))
  } catch (cause) {
    throw new MeshError('ERR_INTERNAL', 'the sidecar’s answer is no JSON', { cause })
  }
}

function unavailable(message: string): MeshError {
  const code = 'ERR_PROXY_UNAVAILABLE' satisfies ErrorCode
  return new MeshError(code, message, { retry: 'backoff' })
}

function tooLarge(): MeshError {
  const message = `the answer has more than ${MAX_ANSWER_BYTES} bytes; ask for one section`
  return new MeshError('ERR_ANSWER_TOO_LARGE', message)
}
