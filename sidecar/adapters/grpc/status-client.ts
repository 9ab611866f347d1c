/**
 * The ProxyStatus stream to the controller: says at each change what is enforced, and answers pings at once.
 * Questions are answered by `answer`, in parts. In: reports. Out: messages on the current session's stream; the newest report is repeated on each new one.
 * Source: proto/postern/proxy/v1alpha1/proxy.proto.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  type ProxyCommand,
  type ProxyQuery,
  type ProxyReport,
  ProxyReportSchema,
  ProxyStatus,
} from '../../../proto/gen/postern/proxy/v1alpha1/proxy_pb.js'
import type { AnswerPart, Question } from '../../runtime/queries.ts'
import type { ControllerSession } from './controller-client.ts'

type Call = grpc.ClientDuplexStream<ProxyReport, ProxyCommand>
export type StatusReport = Omit<MessageInitShape<typeof ProxyReportSchema>, '$typeName' | 'pong'>

export interface StatusClientOptions {
  /** Never rejects. */
  readonly answer: (question: Question, maxBytes: number) => Promise<readonly AnswerPart[]>
}

export class StatusClient {
  readonly #options: StatusClientOptions
  #call: Call | undefined
  #report: StatusReport | undefined
  #isClosed = false

  constructor(options: StatusClientOptions) {
    this.#options = options
  }

  /** Sends the report, if it differs from the last one. */
  report(report: StatusReport): void {
    const isSame = JSON.stringify(report, plain) === JSON.stringify(this.#report, plain)
    this.#report = report
    if (!isSame) this.#send('')
  }

  /** Answers no ping from now on: to the controller this process is gone, while its other streams go on. */
  close(): void {
    this.#isClosed = true
    this.#call?.cancel()
    this.#call = undefined
  }

  attach(session: ControllerSession): void {
    if (this.#isClosed) return
    const method = toServiceDefinition(ProxyStatus).Stream
    if (method === undefined) throw new Error('ProxyStatus.Stream is not in the descriptor')
    const call = session.channel.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
    ) as Call
    this.#call = call
    call.on('data', (command: ProxyCommand) => {
      if (command.query === undefined) this.#send(command.ping)
      else void this.#answer(call, command.query)
    })
    call.on('error', () => {})
    call.on('status', (status: grpc.StatusObject) => {
      if (this.#isClosed) return
      session.fail(new Error(`status stream ended: ${grpc.status[status.code]} ${status.details}`))
    })
    session.signal.addEventListener('abort', () => {
      if (this.#call === call) this.#call = undefined
      call.cancel()
    })
    this.#send('')
  }

  async #answer(call: Call, { id, maxBytes, question }: ProxyQuery): Promise<void> {
    const parts = await this.#options.answer(question, maxBytes)
    const { nodeId = '', instanceId = '' } = this.#report ?? {}
    for (const part of parts) {
      if (this.#call !== call) return
      call.write(create(ProxyReportSchema, { nodeId, instanceId, answer: { id, ...part } }))
    }
  }

  #send(pong: string): void {
    if (this.#report === undefined) return
    this.#call?.write(create(ProxyReportSchema, { ...this.#report, pong }))
  }
}

/** JSON has no bigint. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}
