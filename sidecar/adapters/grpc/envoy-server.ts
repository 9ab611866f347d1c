/**
 * The gRPC server that only this sidecar's Envoy calls, on a Unix socket in the run directory (0600 in a 0700 one).
 * In: Envoy's delta-ADS stream, which must carry the per-start secret. Out: its events; what is sent goes to Envoy.
 * Other services (the access log) may be added. At most one ADS stream: a new one ends the one before.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { chmod, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import type { SendEffect, StreamFault } from '../../../common/delta-xds/server.ts'
import { fromRequestMessage, toResponseMessage } from '../../../common/delta-xds/wire.ts'
import { MeshError } from '../../../common/errors.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { Outflow } from '../../../common/outflow.ts'
import type { Secret } from '../../../common/secret.ts'
import { AggregatedDiscoveryService } from '../../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { SECRET_HEADER } from '../../core/envoy/bootstrap.ts'
import type { DownstreamEvent, DownstreamXds, Log } from '../../runtime/xds-ports.ts'

type Call = grpc.ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

export interface EnvoyService {
  readonly service: grpc.ServiceDefinition
  readonly implementation: grpc.UntypedServiceImplementation
}

export interface EnvoyServerOptions {
  readonly socketPath: string
  readonly secret: Secret<string>
  readonly services?: readonly EnvoyService[]
  readonly mark: { mark(): void; isSame(): boolean }
  readonly log: Log
}

const READ_REST_MS = 500
const SOCKET_LOOK_MS = 1_000

export class EnvoyServer implements DownstreamXds {
  readonly name = 'envoy-server'
  readonly #options: EnvoyServerOptions
  readonly #server = new grpc.Server({
    'grpc.max_receive_message_length': 16 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
  })
  #listener: (event: DownstreamEvent) => void = () => {}
  #call: Call | undefined
  #outflow: Outflow | undefined
  #timer: NodeJS.Timeout | undefined
  #isBinding = false
  readonly #socketListeners = new Set<() => void>()

  constructor(options: EnvoyServerOptions) {
    this.#options = options
    this.#server.addService(toServiceDefinition(AggregatedDiscoveryService), {
      DeltaAggregatedResources: (call: Call) => this.#open(call),
      StreamAggregatedResources: (call: Call) =>
        end(call, grpc.status.UNIMPLEMENTED, 'only delta xDS is served'),
    })
    for (const { service, implementation } of options.services ?? [])
      this.#server.addService(service, implementation)
  }

  async start(): Promise<void> {
    const { socketPath } = this.#options
    if (await isServed(socketPath)) {
      const message = `another sidecar serves ${socketPath}; give each its own --state (and --run-dir)`
      throw new MeshError('ERR_CONFIG', message)
    }
    await this.#bind()
    this.#timer = setInterval(() => void this.#look(), SOCKET_LOOK_MS).unref()
  }

  async #bind(): Promise<void> {
    const { socketPath, mark } = this.#options
    // Left by a process that was killed; the run directory is ours alone.
    await rm(socketPath, { force: true })
    const credentials = grpc.ServerCredentials.createInsecure()
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`unix:${socketPath}`, credentials, (cause) => {
        if (cause === null) return resolve()
        reject(new MeshError('ERR_CONFIG', `cannot listen on ${socketPath}`, { cause }))
      })
    })
    await chmod(socketPath, 0o600)
    mark.mark()
  }

  /** A socket that was removed or replaced is bound anew, for the next Envoy; open streams go on. */
  async #look(): Promise<void> {
    const { socketPath, mark, log } = this.#options
    if (this.#isBinding || mark.isSame()) return
    this.#isBinding = true
    this.#tellSocket()
    try {
      log.error({ socketPath }, 'socket for envoy is gone; it is bound anew')
      this.#server.unbind(`unix:${socketPath}`)
      // Closing unlinks the path, whatever is there.
      await new Promise((resolve) => setImmediate(resolve))
      await this.#bind()
    } catch (err) {
      log.error({ err, socketPath }, 'socket for envoy is not bound; tried again')
    } finally {
      this.#isBinding = false
      this.#tellSocket()
    }
  }

  /** False: whoever connects to the path now does not reach us. */
  isBound(): boolean {
    return !this.#isBinding && this.#options.mark.isSame()
  }

  /** It was noticed that the socket is gone, or it is there again. */
  onSocketChange(listener: () => void): () => void {
    this.#socketListeners.add(listener)
    return () => this.#socketListeners.delete(listener)
  }

  #tellSocket(): void {
    for (const listener of this.#socketListeners) listener()
  }

  /** What Envoy had sent before it ended (its access log) is still read. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    const timer = setTimeout(() => this.#server.forceShutdown(), READ_REST_MS)
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()))
    clearTimeout(timer)
    await rm(this.#options.socketPath, { force: true })
  }

  /** Bytes that were written for Envoy and not yet taken by it. */
  buffered(): number {
    return this.#outflow?.bytes() ?? 0
  }

  onEvent(listener: (event: DownstreamEvent) => void): void {
    this.#listener = listener
  }

  send(effect: SendEffect): void {
    const bytes = effect.resources.reduce((sum, { value }) => sum + value.length, 0)
    this.#outflow?.write(toResponseMessage(effect), bytes)
  }

  reset(reason: string, status: StreamFault | 'ABORTED'): void {
    const call = this.#call
    if (call === undefined) return
    this.#close(call)
    end(call, grpc.status[status], reason)
  }

  #open(call: Call): void {
    call.on('error', () => {})
    const given = call.metadata.get(SECRET_HEADER)[0]
    if (!sameText(String(given ?? ''), this.#options.secret.reveal())) {
      this.#options.log.warn({ code: 'ERR_PEER_FORBIDDEN' }, 'xds stream refused: not our envoy')
      end(call, grpc.status.UNAUTHENTICATED, 'the secret of this sidecar is required')
      return
    }
    this.reset('superseded by a newer stream', 'ABORTED')
    this.#call = call
    this.#outflow = new Outflow(call)
    for (const event of ['close', 'cancelled', 'error']) call.on(event, () => this.#close(call))
    call.on('end', () => {
      this.#close(call)
      call.end()
    })
    call.on('data', (message: DeltaDiscoveryRequest) => {
      if (this.#call !== call) return
      this.#listener({ kind: 'request', request: fromRequestMessage(message) })
    })
    this.#listener({ kind: 'opened' })
  }

  #close(call: Call): void {
    if (this.#call !== call) return
    this.#call = undefined
    this.#outflow = undefined
    this.#listener({ kind: 'closed' })
  }
}

function isServed(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

/** Equal in a time that does not depend on where they differ. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

function end(call: Call, code: grpc.status, details: string): void {
  call.emit('error', Object.assign(new Error(details), { code, details }))
}
