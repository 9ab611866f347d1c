/**
 * The ProxyStatus service: what each sidecar says is really enforced, and whether a sidecar is alive right now.
 * In: reports over mTLS. Out: the registry's reports, and `isLive` for the CSR service (a credential that is used
 * while another process of its workload answers was stolen or copied). A peer can only speak for its own node.
 * Source: proto/postern/proxy/v1alpha1/proxy.proto.
 */
import { randomUUID } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import type { Logger } from 'pino'
import { MeshError } from '../../../common/errors.ts'
import { type Feature, parseFeatures } from '../../../common/features.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  type ProxyCommand,
  ProxyCommandSchema,
  type ProxyReport,
  ProxyStatus,
} from '../../../proto/gen/postern/proxy/v1alpha1/proxy_pb.js'
import { ProxyQueries, type Question } from './proxy-queries.ts'

type Call = grpc.ServerDuplexStream<ProxyReport, ProxyCommand>

interface Peer {
  readonly spiffeId: string
  readonly workloadUid: string
}

export interface ReportRecorder {
  opened(nodeId: string, kind: 'status'): () => void
  described(
    nodeId: string,
    abilities: { readonly version: string; readonly features: readonly string[] },
  ): void
  reported(
    nodeId: string,
    report: {
      readonly enforcedGeneration: string
      readonly bundleRevision: string
      readonly ready: boolean
      readonly detail: string
      readonly envoyVersion: string
      readonly svidNotAfterMs: number
    },
  ): void
}

export interface ProxyStatusOptions {
  readonly peerOf: (call: Call) => Peer | undefined
  readonly workloadOf: (
    uid: string,
  ) => { readonly nodeId: string; readonly spiffeId: string } | undefined
  readonly proxies: ReportRecorder
  readonly log: Logger
}

/** How long a live sidecar may take to answer a ping. */
const PONG_TIMEOUT_MS = 2_000
const MAX_TEXT = 1024
const QUERY: Feature = 'proxy/query'

interface Stream {
  readonly call: Call
  readonly peer: Peer
  instanceId: string | undefined
  /** Set by its first report, with `instanceId`. */
  nodeId: string
  features: readonly string[]
  close: () => void
  readonly queries: ProxyQueries
  /** Token → what to call at its pong. */
  readonly pings: Map<string, () => void>
}

export class ProxyStatusService {
  readonly service = toServiceDefinition(ProxyStatus)
  readonly implementation: grpc.UntypedServiceImplementation = {
    Stream: (call: Call) => this.#open(call),
  }
  readonly #options: ProxyStatusOptions
  readonly #streams = new Set<Stream>()

  constructor(options: ProxyStatusOptions) {
    this.#options = options
  }

  /** Whether a sidecar process of this workload, other than `exceptInstanceId`, answers within 2 s. */
  async isLive(workloadUid: string, exceptInstanceId: string): Promise<boolean> {
    const others = [...this.#streams].filter(
      ({ peer, instanceId }) =>
        peer.workloadUid === workloadUid &&
        instanceId !== undefined &&
        instanceId !== exceptInstanceId,
    )
    if (others.length === 0) return false
    return new Promise((resolve) => {
      const token = randomUUID()
      const finish = (isLive: boolean) => {
        clearTimeout(timer)
        for (const stream of others) stream.pings.delete(token)
        resolve(isLive)
      }
      const timer = setTimeout(() => finish(false), PONG_TIMEOUT_MS)
      for (const stream of others) {
        stream.pings.set(token, () => finish(true))
        stream.call.write(create(ProxyCommandSchema, { ping: token }))
      }
    })
  }

  /**
   * What the sidecar of this proxy answers; the newest of its processes, should there be several.
   * Errors: ERR_PROXY_UNAVAILABLE (not connected, too old to be asked, no answer), ERR_ANSWER_TOO_LARGE, its own code.
   */
  ask(nodeId: string, question: Question): Promise<unknown> {
    const stream = [...this.#streams].findLast((s) => s.nodeId === nodeId)
    if (stream === undefined) {
      const message = 'the proxy is not connected to this controller'
      throw new MeshError('ERR_PROXY_UNAVAILABLE', message, { retry: 'backoff' })
    }
    if (!stream.features.includes(QUERY)) {
      const message = 'its sidecar is too old to be asked; upgrade it'
      throw new MeshError('ERR_PROXY_UNAVAILABLE', message)
    }
    return stream.queries.ask(question)
  }

  #open(call: Call): void {
    const peer = this.#options.peerOf(call)
    call.on('error', () => {})
    if (peer === undefined) {
      end(call, grpc.status.UNAUTHENTICATED, 'a client certificate of this mesh is required')
      return
    }
    const stream: Stream = {
      call,
      peer,
      instanceId: undefined,
      nodeId: '',
      features: [],
      close: () => {},
      queries: new ProxyQueries((query) => call.write(create(ProxyCommandSchema, { query }))),
      pings: new Map(),
    }
    this.#streams.add(stream)
    const close = () => {
      if (!this.#streams.delete(stream)) return
      stream.close()
      stream.queries.close()
    }
    for (const event of ['close', 'cancelled', 'error']) call.on(event, close)
    call.on('end', () => {
      close()
      call.end()
    })
    call.on('data', (report: ProxyReport) => this.#take(stream, report))
  }

  #take(stream: Stream, report: ProxyReport): void {
    if (!this.#streams.has(stream)) return
    const { peer } = stream
    const workload = this.#options.workloadOf(peer.workloadUid)
    if (workload?.nodeId !== report.nodeId || workload.spiffeId !== peer.spiffeId) {
      const fields = { code: 'ERR_PEER_FORBIDDEN', spiffeId: peer.spiffeId }
      this.#options.log.warn(fields, 'proxy report refused: node is not the peer')
      const details = 'node_id is not a workload of this certificate'
      end(stream.call, grpc.status.PERMISSION_DENIED, details)
      return
    }
    if (report.answer !== undefined) {
      stream.queries.take(report.answer)
      return
    }
    if (stream.instanceId === undefined) {
      stream.instanceId = report.instanceId
      stream.nodeId = report.nodeId
      stream.features = parseFeatures(report.features)
      stream.close = this.#options.proxies.opened(report.nodeId, 'status')
      this.#options.proxies.described(report.nodeId, {
        version: report.sidecarVersion.slice(0, MAX_TEXT),
        features: stream.features,
      })
    }
    if (report.pong !== '') stream.pings.get(report.pong)?.()
    this.#options.proxies.reported(report.nodeId, {
      enforcedGeneration: report.enforcedGeneration.slice(0, MAX_TEXT),
      bundleRevision: report.bundleRevision.slice(0, MAX_TEXT),
      ready: report.ready,
      detail: report.detail.slice(0, MAX_TEXT),
      envoyVersion: report.envoyVersion.slice(0, MAX_TEXT),
      svidNotAfterMs: Number(report.svidNotAfter) * 1000,
    })
  }
}

function end(call: Call, code: grpc.status, details: string): void {
  call.emit('error', Object.assign(new Error(details), { code, details }))
}
