/**
 * The one TLS port with all that stands behind it, part of the composition root. Opens when the mesh has its
 * certificate authority: before, there is no certificate to show.
 * In: the authority's settings by the model. Out: the trust bundle, join tokens, and a port that sidecars reach.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { parseCertificate } from '../common/certificate.ts'
import type { Clock } from '../common/clock.ts'
import { MeshError, type Problem } from '../common/errors.ts'
import { nodeKeys } from './adapters/crypto/keys.ts'
import { AdsServer } from './adapters/grpc/ads-server.ts'
import { createBundleService } from './adapters/grpc/bundle-service.ts'
import { createCsrService } from './adapters/grpc/csr-server.ts'
import { createPeerReader, MeshServer, type PeerReader } from './adapters/grpc/mesh-server.ts'
import { ProxyStatusService } from './adapters/grpc/proxy-status.ts'
import { BundleServer } from './adapters/http/bundle-server.ts'
import { countAnswers } from './adapters/metrics/bundle-answers.ts'
import type { ControllerMetrics } from './adapters/metrics/controller-metrics.ts'
import { createIdentityStore } from './adapters/state/identity-store.ts'
import type { Config } from './config.ts'
import { type Peer, readPeer } from './core/ca/peer.ts'
import type { Model } from './core/model/mesh.ts'
import { BundleDesk } from './runtime/bundle-desk.ts'
import { Directory } from './runtime/directory.ts'
import { createAuthority } from './runtime/identity/authority.ts'
import { type ControllerIdentity, openControllerIdentity } from './runtime/identity/identity.ts'
import { type KeyTrouble, toTrouble } from './runtime/identity/live-authority.ts'
import type { IdentityStore, PodWitness } from './runtime/identity/ports.ts'
import type { IssuedJoinToken, JoinTokenRequest } from './runtime/identity/tokens.ts'
import type { Authority } from './runtime/ports.ts'
import { ProxyTable } from './runtime/proxy-table.ts'
import type { Publication } from './runtime/publication.ts'
import { Queue } from './runtime/queue.ts'

export interface EntranceOptions {
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: ControllerMetrics
  readonly onRevoked: () => void
  /** Absent: there are no pods. */
  readonly pods?: PodWitness
  /** Absent: in the state directory. */
  readonly keys?: IdentityStore
  /** The roots in force, or what is wrong with the stored keys, may be others now. */
  readonly onKeysChanged: () => void
}

export class Entrance implements Authority {
  readonly name = 'entrance'
  readonly proxies = new ProxyTable()
  readonly #options: EntranceOptions
  readonly #directory = new Directory()
  readonly #peers: PeerReader
  readonly #ads: AdsServer
  readonly #status: ProxyStatusService
  readonly #desk: BundleDesk
  readonly #keys: IdentityStore
  readonly #keysQueue: Queue
  #identity: ControllerIdentity | undefined
  /** Why keys that are there, or were, can't be opened. */
  #trouble: (KeyTrouble & { readonly name: string }) | undefined
  #authorityName = ''
  #server: MeshServer | undefined

  constructor(options: EntranceOptions) {
    this.#options = options
    const { log, metrics } = options
    this.#keys = options.keys ?? createIdentityStore(join(options.config.state, 'ca'))
    this.#keysQueue = new Queue({
      run: async () => {
        await this.#identity?.look()
        return {}
      },
      log: log.child({ component: 'keys' }),
    })
    this.#keys.shared?.onChange(() => {
      if (this.#identity === undefined) options.onKeysChanged()
      else this.#keysQueue.request()
    })
    this.#peers = createPeerReader(readPeer, options.clock)
    const workloadOf = (uid: string) => this.#directory.peerOf(uid)
    const peerOf = this.#peers.ofCall
    this.#ads = new AdsServer({
      peerOf,
      workloadOf,
      proxies: this.proxies,
      meter: metrics,
      log: log.child({ component: 'ads' }),
    })
    this.#status = new ProxyStatusService({
      peerOf,
      workloadOf,
      proxies: this.proxies,
      log: log.child({ component: 'proxy-status' }),
    })
    this.#desk = new BundleDesk({ workloadOf })
  }

  create({ mesh, certificateAuthority }: Model): Promise<boolean> {
    return this.#noting(certificateAuthority.name, () =>
      createAuthority({
        ...this.#authorityOptions(mesh.trustDomain),
        rootLifetimeSeconds: certificateAuthority.rootLifetimeSeconds,
      }),
    )
  }

  async ensure(model: Model): Promise<readonly Uint8Array[]> {
    this.#directory.set(model)
    const { name } = model.certificateAuthority
    if (this.#identity === undefined) {
      this.#identity = await this.#noting(name, () => this.#openIdentity(model))
      this.#authorityName = name
      // What was stored while it was opened.
      if (this.#keys.shared !== undefined) this.#keysQueue.request()
      this.#options.onKeysChanged()
    }
    return this.#identity.authority.trustBundle
  }

  /** Serves a publication; opens the port with the first one. Errors: ERR_CONFIG (the port is taken). */
  async publish({ snapshots, bundles }: Publication): Promise<void> {
    // Envoy decides by its own resources; every mixture of old and new is safe (decision 0006), so the order is free.
    this.#ads.publish(snapshots)
    this.#desk.publish(bundles.values())
    this.#server ??= await this.#openServer()
  }

  /** How far each connected proxy is with each type, by node id. */
  sync(): ReturnType<AdsServer['sync']> {
    return this.#ads.sync()
  }

  /** What the sidecar of this proxy answers. Errors: ERR_PROXY_UNAVAILABLE, ERR_ANSWER_TOO_LARGE, its own. */
  ask(...asked: Parameters<ProxyStatusService['ask']>): Promise<unknown> {
    return this.#status.ask(...asked)
  }

  isOpen(): boolean {
    return this.#server !== undefined
  }

  createJoinToken(request: JoinTokenRequest): Promise<IssuedJoinToken> {
    if (this.#identity === undefined) {
      const message =
        'there is no certificate authority yet; add a Mesh and its CertificateAuthority'
      throw new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' })
    }
    return this.#identity.createJoinToken(request)
  }

  /** Why a workload's credential was revoked, by workload UID. */
  revoked(): ReadonlyMap<string, string> {
    const all = this.#identity?.revocations() ?? []
    return new Map(all.map(({ workloadUid, reason }) => [workloadUid, reason]))
  }

  /** When the root and the own certificate end; undefined: there are none yet. */
  certificates(): { readonly rootNotAfterMs: number; readonly ownNotAfterMs: number } | undefined {
    const { authority, own } = this.#identity ?? {}
    const [root] = authority?.trustBundle ?? []
    if (root === undefined || own === undefined) return undefined
    const { notAfterMs } = parseCertificate(root)
    return { rootNotAfterMs: notAfterMs, ownNotAfterMs: own.current().notAfterMs }
  }

  /** PEM of the roots in force; undefined: there are none yet. */
  roots(): string | undefined {
    return this.#identity?.authority.trustBundlePem
  }

  /** What is wrong with the stored keys, of the CertificateAuthority that they are. */
  problems(): readonly Problem[] {
    const live = this.#identity?.trouble()
    const trouble = live === undefined ? this.#trouble : { ...live, name: this.#authorityName }
    if (trouble === undefined) return []
    const { name, ...rest } = trouble
    return [{ ...rest, object: { kind: 'CertificateAuthority', name }, field: '' }]
  }

  /** What issues certificates for servers of the controller's own. Throws ERR_CA_NOT_READY. */
  issuing() {
    if (this.#identity === undefined)
      throw new MeshError('ERR_CA_NOT_READY', 'there is no authority yet', { retry: 'backoff' })
    const { authority, own } = this.#identity
    const lifetimeSeconds = this.#directory.settings()?.svidLifetimeSeconds ?? 86_400
    return { authority, own, lifetimeSeconds }
  }

  xdsLoad(): { readonly streams: number; readonly bufferedBytes: number } {
    return { streams: this.#ads.streams(), bufferedBytes: this.#ads.buffered() }
  }

  async stop(graceMs: number): Promise<void> {
    this.#desk.stop()
    await this.#server?.stop(graceMs)
    await this.#keysQueue.stop()
    this.#identity?.stop()
  }

  /** Notes why keys of others' making, too, can't be had; those of one's own state directory end the process. */
  async #noting<T>(name: string, work: () => Promise<T>): Promise<T> {
    try {
      const result = await work()
      this.#trouble = undefined
      return result
    } catch (error) {
      if (this.#keys.shared === undefined) throw error
      this.#trouble = { ...toTrouble(error, this.#keys), name }
      const { code, message } = error as MeshError
      // It may be put back: then all goes on.
      throw new MeshError(code, message, { retry: 'backoff', cause: error })
    }
  }

  #openIdentity(model: Model): Promise<ControllerIdentity> {
    const { log, onRevoked, onKeysChanged, pods } = this.#options
    return openControllerIdentity({
      ...this.#authorityOptions(model.mesh.trustDomain),
      directory: this.#directory,
      isLive: (uid, except) => this.#status.isLive(uid, except),
      log: log.child({ component: 'identity' }),
      onRevoked,
      onKeysChanged,
      ...(pods === undefined ? {} : { pods }),
    })
  }

  #authorityOptions(trustDomain: string) {
    const { clock } = this.#options
    return { trustDomain, store: this.#keys, keys: nodeKeys, clock, randomBytes }
  }

  /** As the other services' peer, with all that attestation wants to know of its certificate. */
  #peerOfCsr(call: Parameters<PeerReader['ofCall']>[0]): Peer | undefined {
    const der = call.getAuthContext().sslPeerCertificate?.raw
    return this.#peers.ofCall(call) === undefined || der === undefined ? undefined : readPeer(der)
  }

  /** gRPC for our sidecars, OPA's HTTP API for older ones and for OPA itself. */
  #createBundleFaces() {
    const { clock, log, metrics } = this.#options
    const both = { desk: this.#desk, log: log.child({ component: 'bundles' }) }
    const byGrpc = createBundleService({
      ...both,
      peerOf: this.#peers.ofCall,
      meter: metrics,
      clock,
    })
    const { onRequest } = new BundleServer({ ...both, peerOf: this.#peers.ofSocket })
    const byHttp = countAnswers(onRequest, (result) => metrics.answeredBundle(result))
    return { byGrpc, byHttp }
  }

  async #openServer(): Promise<MeshServer> {
    const { config, clock, log, metrics } = this.#options
    const identity = this.#identity
    if (identity === undefined) throw new Error('published before the authority was there')
    const csr = createCsrService({
      attestation: identity.attestation,
      peerOf: (call) => this.#peerOfCsr(call),
      meter: metrics,
      clock,
      log: log.child({ component: 'csr' }),
    })
    const bundles = this.#createBundleFaces()
    const server = new MeshServer({
      ...config.listen,
      identity: identity.own.current(),
      services: [this.#ads, this.#status, csr, bundles.byGrpc],
      onRequest: bundles.byHttp,
      peers: this.#peers,
      clock,
      log: log.child({ component: 'mesh-server' }),
    })
    // First: a renewal while the port opens must not be missed.
    identity.own.onRenewed((svid) => server.setIdentity(svid))
    await server.start()
    log.info({ host: config.listen.host, port: server.port() }, 'sidecars may connect')
    return server
  }
}
