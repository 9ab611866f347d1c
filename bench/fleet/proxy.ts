/**
 * One proxy of the fleet: what a sidecar is to its controller, without an Envoy behind it. Mutual TLS with an SVID that
 * a join token bought, delta ADS by the sidecar's own reducer, ProxyStatus, and the bundle long poll.
 * In: an SVID. Out: what came, to a `Ledger`. ACKs at once; reports as enforced what it has ACKed.
 */
import { randomBytes } from 'node:crypto'
import * as grpc from '@grpc/grpc-js'
import { type ClientEvent, startClient, stepClient } from '../../common/delta-xds/client.ts'
import { Secret } from '../../common/secret.ts'
import { generationOf } from '../../common/xds-snapshot.ts'
import { nodeKeys } from '../../sidecar/adapters/crypto/keys.ts'
import { AdsClient } from '../../sidecar/adapters/grpc/ads-client.ts'
import { SessionBundleSource } from '../../sidecar/adapters/grpc/bundle-client.ts'
import { controllerCredentials } from '../../sidecar/adapters/grpc/controller-client.ts'
import { createCsrClient } from '../../sidecar/adapters/grpc/csr-client.ts'
import { StatusClient } from '../../sidecar/adapters/grpc/status-client.ts'
import type { Svid } from '../../sidecar/ports.ts'
import { Attester } from '../../sidecar/runtime/identity-attest.ts'
import type { Ledger } from './ledger.ts'

const clock = { now: () => Date.now(), monotonic: () => performance.now() }
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }
const JOIN_TIMEOUT_MS = 30_000
const WAIT_SECONDS = 240

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.ssl_target_name_override': 'postern-controller',
  'grpc.default_authority': 'postern-controller',
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_channelz': 0,
}

/** The workload's SVID, by the sidecar's own way; the credential is kept in memory. */
export function join(target: string, token: string): Promise<Svid> {
  let stored: Secret<string> | undefined
  const attester = new Attester({
    state: {
      load: async () => stored,
      store: async (text: Secret<string>) => {
        stored = text
      },
      setAside: async () => {},
    },
    client: createCsrClient({ controller: target, clock }),
    keys: nodeKeys,
    readJoinToken: async () => new Secret(token),
    clock,
    instanceId: randomBytes(16).toString('hex'),
  })
  return attester.attest(undefined, AbortSignal.timeout(JOIN_TIMEOUT_MS))
}

export class FleetProxy {
  readonly workload: string
  readonly #nodeId: string
  readonly #ledger: Ledger
  readonly #channel: grpc.Client
  readonly #abort = new AbortController()
  readonly #ads: AdsClient
  readonly #status = new StatusClient({ answer: async () => [] })
  readonly #bundles: SessionBundleSource
  #state = startClient()
  #revision = ''
  #isQueued = false

  constructor(options: { readonly target: string; readonly svid: Svid; readonly ledger: Ledger }) {
    const { target, svid, ledger } = options
    const { namespace, name, uid } = svid.workload
    this.workload = `${namespace}/${name}`
    this.#nodeId = `${this.workload}/${uid}`
    this.#ledger = ledger
    this.#channel = new grpc.Client(target, controllerCredentials(svid), CHANNEL_OPTIONS)
    this.#ads = new AdsClient({
      nodeId: this.#nodeId,
      version: 'fleet',
      refuses: () => undefined,
      log: SILENT,
    })
    const older = { fetch: () => Promise.reject(new Error('bundles come by gRPC')) }
    this.#bundles = new SessionBundleSource({ workload: this.workload, older })
  }

  start(): void {
    const session = {
      channel: this.#counted(),
      signal: this.#abort.signal,
      fail: (reason: Error) => {
        if (!this.#abort.signal.aborted) this.#ledger.failed(this.workload, reason)
      },
    }
    this.#ads.onEvent((event) => this.#take(event))
    this.#ads.attach(session)
    this.#report()
    this.#status.attach(session)
    this.#bundles.attach({ channel: this.#channel, signal: session.signal })
    void this.#pollBundles()
  }

  stop(): void {
    this.#status.close()
    this.#abort.abort()
    this.#channel.close()
  }

  /** The channel, with every xDS message's size told to the ledger. */
  #counted(): grpc.Client {
    const channel = this.#channel
    const tell = (bytes: number) => this.#ledger.received(this.workload, bytes)
    const makeBidiStreamRequest = (
      path: string,
      serialize: (value: unknown) => Buffer,
      deserialize: (bytes: Buffer) => unknown,
    ) =>
      channel.makeBidiStreamRequest(path, serialize, (bytes: Buffer) => {
        if (path.includes('AggregatedDiscovery')) tell(bytes.length)
        return deserialize(bytes)
      })
    return { makeBidiStreamRequest } as unknown as grpc.Client
  }

  #take(event: ClientEvent): void {
    const { state, effects } = stepClient(this.#state, event)
    this.#state = state
    for (const effect of effects) if (effect.kind === 'request') this.#ads.request(effect)
    if (event.kind !== 'response') return
    for (const [typeUrl, { pending }] of this.#state.types) {
      if (pending === undefined) continue
      this.#take({ kind: 'verdict', typeUrl, nonce: pending.nonce, error: undefined })
      this.#ledger.acked()
    }
    this.#queueReport()
  }

  #queueReport(): void {
    if (this.#isQueued) return
    this.#isQueued = true
    setImmediate(() => {
      this.#isQueued = false
      this.#report()
    })
  }

  #report(): void {
    const resources = new Map([...this.#state.types].map(([url, t]) => [url, t.resources] as const))
    this.#status.report({
      nodeId: this.#nodeId,
      instanceId: this.#nodeId.replaceAll('/', '-').slice(0, 64),
      sidecarVersion: 'fleet',
      envoyVersion: 'fleet',
      enforcedGeneration: generationOf(resources),
      bundleRevision: this.#revision,
      detail: '',
      ready: true,
      svidNotAfter: 0n,
    })
  }

  async #pollBundles(): Promise<void> {
    let etag: string | undefined
    const { signal } = this.#abort
    while (!signal.aborted) {
      try {
        const waitSeconds = etag === undefined ? 0 : WAIT_SECONDS
        const answer = await this.#bundles.fetch({ etag, waitSeconds, signal })
        if (answer.kind !== 'bundle') continue
        etag = answer.etag
        this.#revision = (etag ?? '').replaceAll('"', '')
        this.#ledger.fetched(this.workload, answer.archive.length)
        this.#report()
      } catch (error) {
        if (!signal.aborted) this.#ledger.failed(this.workload, error as Error)
        return
      }
    }
  }
}
