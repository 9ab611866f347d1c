/**
 * The controller's one TLS port: ALPN h2 goes to gRPC, http/1.1 to the bundle server (CONTRACT of the wire, docs).
 * In: connections, with or without a client certificate. Out: calls whose peer is known by `PeerReader`.
 * A connection lives no longer than its peer's certificate, and a nameless one only as long as an attestation takes.
 * It must never take a peer for authenticated unless TLS verified its chain and the certificate is in force now.
 */
import { constants } from 'node:crypto'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTlsServer, TLSSocket, type Server as TlsServer } from 'node:tls'
import * as grpc from '@grpc/grpc-js'
import type { Logger } from 'pino'
import type { Clock } from '../../../common/clock.ts'
import { MeshError } from '../../../common/errors.ts'
import { remember } from '../../../common/remember.ts'
import type { Secret } from '../../../common/secret.ts'
import { ConnectionPool } from './connection-pool.ts'

/** Who calls. Times are epoch milliseconds. */
export interface MeshPeer {
  readonly spiffeId: string
  readonly workloadUid: string
  readonly notAfterMs: number
}

/** The part of a gRPC call that says who made it. */
export type PeerCall = Pick<grpc.ServerUnaryCall<unknown, unknown>, 'getAuthContext'>

export interface PeerReader {
  ofCall(call: PeerCall): MeshPeer | undefined
  ofSocket(socket: Socket): MeshPeer | undefined
}

/** The server's own certificate and the roots that its clients verify against. PEM. */
export interface ServerIdentity {
  readonly certificateChainPem: string
  readonly privateKeyPem: Secret<string>
  readonly trustBundlePem: string
}

export interface MeshService {
  readonly service: grpc.ServiceDefinition
  readonly implementation: grpc.UntypedServiceImplementation
}

export interface MeshServerOptions {
  readonly host: string
  /** 0: any free port; `port()` tells. */
  readonly port: number
  readonly identity: ServerIdentity
  readonly services: readonly MeshService[]
  readonly onRequest: RequestListener
  readonly peers: PeerReader
  readonly clock: Clock
  readonly log: Logger
  /** Open connections at most; more are refused. Default 16,384. */
  readonly maxConnections?: number
}

const HANDSHAKE_TIMEOUT_MS = 10_000
/** How long a peer without a certificate may stay: an attestation is two calls. */
const NAMELESS_TIMEOUT_MS = 60_000
/** Of all connections, one in so many may be in its handshake or without a certificate. */
const NAMELESS_SHARE = 4
/** A sidecar has one, and a second while it renews its certificate; a restart has them twice, and half-dead ones take a while to be noticed. */
const MAX_OF_PEER = 64
/** Two calls with requests of some kilobytes. Without a bound, half-sent messages fill the memory. */
const MAX_NAMELESS_BYTES = 256 * 1024
/** Longest delay that Node's timers take. */
const MAX_TIMER_MS = 2 ** 31 - 1
/** A sidecar has one (before 0.2: two); 5,000 of them renew or come back while the old ones are not known to be dead. */
const DEFAULT_MAX_CONNECTIONS = 16_384

const GRPC_OPTIONS: grpc.ServerOptions = {
  // Requests are small: CSRs, subscriptions, reports. Twenty thousand resource names fit.
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  'grpc.max_send_message_length': 64 * 1024 * 1024,
  'grpc.max_concurrent_streams': 32,
  'grpc.keepalive_time_ms': 15_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.enable_channelz': 0,
}

/** Reads the peer of a call or socket; undefined for none, a chain that was not verified, or one not in force. */
export function createPeerReader(
  readPeer: (der: Uint8Array) => MeshPeer | undefined,
  clock: Clock,
): PeerReader {
  const inForce = (peer: MeshPeer | undefined): MeshPeer | undefined =>
    peer !== undefined && peer.notAfterMs > clock.now() ? peer : undefined
  const read = (der: Uint8Array | undefined) => (der === undefined ? undefined : readPeer(der))
  // TLS 1.3 has no renegotiation: the certificate of a connection is one and the same.
  const peerOf = remember((socket: TLSSocket) => read(socket.getPeerX509Certificate()?.raw))
  return {
    // grpc-js gives the certificate only where the socket says `authorized` (server-interceptors.ts).
    ofCall: (call) => inForce(read(call.getAuthContext().sslPeerCertificate?.raw)),
    ofSocket(socket) {
      if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
      return inForce(peerOf(socket))
    },
  }
}

export class MeshServer {
  readonly name = 'mesh-server'
  readonly #options: MeshServerOptions
  readonly #tls: TlsServer
  readonly #http: Server
  readonly #grpc: grpc.Server
  readonly #injector: ReturnType<grpc.Server['createConnectionInjector']>
  readonly #pool: ConnectionPool
  /** Everything that was accepted, also what is still in its handshake. */
  readonly #sockets = new Set<Socket>()

  constructor(options: MeshServerOptions) {
    this.#options = options
    this.#http = createHttpServer(options.onRequest)
    this.#grpc = new grpc.Server(GRPC_OPTIONS)
    for (const { service, implementation } of options.services)
      this.#grpc.addService(service, implementation)
    this.#injector = this.#grpc.createConnectionInjector(grpc.ServerCredentials.createInsecure())
    this.#tls = createTlsServer({
      ...secureContextOf(options.identity),
      minVersion: 'TLSv1.3',
      requestCert: true,
      // Attestation comes without a certificate, so each service asks for its peer itself.
      rejectUnauthorized: false,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      // A resumed session would not verify the chain again.
      secureOptions: constants.SSL_OP_NO_TICKET,
    })
    this.#tls.maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS
    this.#pool = new ConnectionPool({
      maxStrangers: Math.ceil(this.#tls.maxConnections / NAMELESS_SHARE),
      maxOfPeer: MAX_OF_PEER,
      maxStrangerBytes: MAX_NAMELESS_BYTES,
    })
    this.#tls.on('connection', (socket: Socket) => {
      this.#pool.addStranger(socket)
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#tls.on('secureConnection', (socket) => this.#accept(socket))
    this.#tls.on('tlsClientError', (err, socket) => {
      options.log.debug({ err, remote: socket.remoteAddress }, 'handshake failed')
    })
    this.#tls.on('drop', () => {
      options.log.warn({ maxConnections: this.#tls.maxConnections }, 'connection refused: too many')
    })
  }

  /** Rejects with ERR_CONFIG when the address can't be listened on. */
  start(): Promise<void> {
    const { host, port, log } = this.#options
    return new Promise((resolve, reject) => {
      this.#tls.once('error', (cause) => {
        const message = `cannot listen on ${host}:${port}; free the port or choose another with --listen`
        reject(new MeshError('ERR_CONFIG', message, { cause }))
      })
      this.#tls.listen(port, host, () => {
        this.#tls.on('error', (err) => log.error({ err }, 'mesh server failed'))
        resolve()
      })
    })
  }

  port(): number {
    return (this.#tls.address() as AddressInfo).port
  }

  /** New connections get this certificate and are verified by these roots; open ones stay. */
  setIdentity(identity: ServerIdentity): void {
    this.#tls.setSecureContext({
      ...secureContextOf(identity),
      minVersion: 'TLSv1.3',
      secureOptions: constants.SSL_OP_NO_TICKET,
    })
  }

  /** Lets calls end for `graceMs`, then closes everything. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#tls.close(() => resolve()))
    this.#injector.drain(graceMs)
    this.#http.closeIdleConnections()
    const timer = setTimeout(() => this.#destroyAll(), graceMs)
    if (graceMs === 0) this.#destroyAll()
    await closed
    clearTimeout(timer)
    this.#pool.stop()
    this.#injector.destroy()
    this.#grpc.forceShutdown()
    this.#http.close()
  }

  #accept(socket: TLSSocket): void {
    const { peers, clock } = this.#options
    // The peer is gone or broken; the protocol on top hears of it by `close`.
    socket.on('error', () => {})
    const peer = peers.ofSocket(socket)
    const lifetimeMs =
      peer === undefined ? NAMELESS_TIMEOUT_MS : Math.max(0, peer.notAfterMs - clock.now())
    if (peer !== undefined) this.#pool.addPeer(peer.workloadUid, socket)
    const timer = setTimeout(() => socket.destroy(), Math.min(lifetimeMs, MAX_TIMER_MS)).unref()
    socket.on('close', () => clearTimeout(timer))
    if (socket.alpnProtocol === 'h2') this.#injector.injectConnection(socket)
    else this.#http.emit('connection', socket)
  }

  #destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

function secureContextOf(identity: ServerIdentity): { cert: string; key: string; ca: string } {
  return {
    cert: identity.certificateChainPem,
    key: identity.privateKeyPem.reveal(),
    ca: identity.trustBundlePem,
  }
}
