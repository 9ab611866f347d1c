/**
 * The sidecar's connection to the controller: mutual TLS with the current SVID, verified against the trust bundle
 * that came with it and the controller's reserved SPIFFE id. In: SVIDs. Out: sessions, one at a time; a renewed SVID
 * opens the next connection before the old one is left. A lost connection is tried again at once, then with backoff.
 */

import { createSecureContext } from 'node:tls'
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { MeshError } from '../../../common/errors.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import { toPem } from '../../../common/pem.ts'
import { parseSpiffeId } from '../../../common/spiffe-id.ts'
import {
  GetBundleRequestSchema,
  PolicyBundles,
} from '../../../proto/gen/postern/bundle/v1alpha1/bundle_pb.js'
import { findControllerFault } from '../../core/identity/controller-trust.ts'
import { backoffMs } from '../../core/xds/backoff.ts'
import type { IdentitySource, Svid } from '../../ports.ts'
import type { Log } from '../../runtime/xds-ports.ts'
import { toConnectError } from './connect-error.ts'

/** One connection to the controller. Streams on it end with `signal`; the first one that fails calls `fail`. */
export interface ControllerSession {
  readonly channel: grpc.Client
  readonly signal: AbortSignal
  fail(reason: Error): void
}

export interface ControllerClientOptions {
  /** `HOST:PORT`. */
  readonly target: string
  readonly identity: IdentitySource
  readonly onSession: (session: ControllerSession) => void
  /** A connection was tried in vain. */
  readonly onMissed?: (problem: Error) => void
  readonly log: Log
  /** ∈ [0,1). */
  readonly random: () => number
}

interface Session {
  readonly end: (reason: Error) => void
  readonly ended: Promise<Error>
}

/** How long a superseded connection stays. */
const OVERLAP_MS = 1_000
const CONNECT_TIMEOUT_MS = 5_000
const EXPLAIN_TIMEOUT_MS = 1_000
/** A session that lived this long was a good one: its loss is tried again at once. */
const STABLE_MS = 10_000
/** Sent as server name; the controller's certificate is checked by its URI, never by a DNS name. */
const SERVER_NAME = 'postern-controller'

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.ssl_target_name_override': SERVER_NAME,
  'grpc.default_authority': SERVER_NAME,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  // A proxy of the environment is for the world outside the mesh.
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_channelz': 0,
}

/** TLS credentials that accept only the controller of the SVID's trust domain; `onProblem` hears why another is not. */
export function controllerCredentials(
  svid: Svid,
  onProblem: (problem: MeshError) => void = () => {},
): grpc.ChannelCredentials {
  const trustDomain = parseSpiffeId(svid.spiffeId)?.trustDomain ?? ''
  const context = createSecureContext({
    ca: svid.trustBundle.map(toPem),
    cert: svid.certificateChain.map(toPem).join(''),
    key: svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }),
    minVersion: 'TLSv1.3',
  })
  return grpc.credentials.createFromSecureContext(context, {
    checkServerIdentity: (_name, certificate) => {
      const fault = findControllerFault(certificate.raw, trustDomain)
      if (fault === undefined) return undefined
      const problem = new MeshError('ERR_CONTROLLER_UNTRUSTED', `not the controller: ${fault}`)
      onProblem(problem)
      return problem
    },
  })
}

export class ControllerClient {
  readonly name = 'controller-client'
  readonly #options: ControllerClientOptions
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined
  /** The SVID of the newest connection, tried or made. */
  #used: Svid | undefined
  #leaveIdentity: () => void = () => {}
  /** Ends whatever the loop waits for. */
  #wake: () => void = () => {}
  #active: Session | undefined

  constructor(options: ControllerClientOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#leaveIdentity = this.#options.identity.subscribe(() => this.#wake())
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#leaveIdentity()
    this.#stop.abort()
    this.#wake()
    this.#active?.end(new Error('sidecar stops'))
    await this.#running
  }

  async #run(): Promise<void> {
    let failures = 0
    while (!this.#stop.signal.aborted) {
      const svid = this.#options.identity.current()
      this.#used = svid
      if (svid === undefined) {
        await this.#pause(undefined)
        continue
      }
      const outcome = await this.#session(svid, failures)
      if (outcome === 'renewed') continue
      failures = outcome === 'stable' ? 0 : failures + 1
      // The first loss is tried again at once.
      if (!this.#isRenewed()) await this.#pause(backoffMs(failures - 1, this.#options.random()))
    }
  }

  /** One connection from its beginning to its end; `stable`: it was lost, but had lasted. */
  async #session(svid: Svid, failures: number): Promise<'renewed' | 'stable' | 'failed'> {
    const { log, target } = this.#options
    const startedMs = performance.now()
    try {
      await this.#connect(svid)
    } catch (err) {
      // An outage may last for hours: each failure is told, but not each as loudly.
      const level = Number.isInteger(Math.log2(failures + 1)) ? 'warn' : 'debug'
      if (!this.#stop.signal.aborted)
        log[level]({ target, err, failures }, 'controller not reached; what is enforced stays')
      this.#options.onMissed?.(err as Error)
      return 'failed'
    }
    log.info({ target, serialNumber: svid.serialNumber }, 'connected to the controller')
    const reason = await this.#untilOver()
    if (reason === undefined) return 'renewed'
    log.warn({ target, err: reason }, 'connection to the controller lost')
    return performance.now() - startedMs > STABLE_MS ? 'stable' : 'failed'
  }

  /** Opens the next connection; the one before is left only when this one is ready. */
  async #connect(svid: Svid): Promise<void> {
    let problem: MeshError | undefined
    const credentials = controllerCredentials(svid, (found) => {
      problem = found
    })
    const channel = new grpc.Client(this.#options.target, credentials, CHANNEL_OPTIONS)
    try {
      await waitUntilReady(channel, this.#stop.signal)
    } catch (cause) {
      const fault = await whyNot(channel).finally(() => channel.close())
      throw problem ?? toConnectError(this.#options.target, fault ?? cause)
    }
    const before = this.#active
    const abort = new AbortController()
    const { promise: ended, resolve } = Promise.withResolvers<Error>()
    const end = (reason: Error) => {
      if (abort.signal.aborted) return
      abort.abort(reason)
      channel.close()
      resolve(reason)
    }
    this.#active = { end, ended }
    if (this.#stop.signal.aborted) return end(new Error('sidecar stops'))
    this.#options.onSession({ channel, signal: abort.signal, fail: end })
    if (before !== undefined) this.#leave(before)
  }

  /** The new streams open while the old ones last: to the controller, this proxy was never away. */
  #leave(session: Session): void {
    const leave = () => {
      clearTimeout(timer)
      this.#stop.signal.removeEventListener('abort', leave)
      session.end(new Error('superseded by a connection with a renewed certificate'))
    }
    const timer = setTimeout(leave, OVERLAP_MS)
    this.#stop.signal.addEventListener('abort', leave)
  }

  /** Why the session ended, or undefined when it is time for another because the SVID was renewed or we stop. */
  async #untilOver(): Promise<Error | undefined> {
    const active = this.#active
    while (active !== undefined && !this.#stop.signal.aborted) {
      const woken = this.#pause(undefined)
      const reason = await Promise.race([active.ended, woken])
      this.#wake()
      if (reason instanceof Error) return reason
      if (this.#isRenewed()) return undefined
    }
    return undefined
  }

  #isRenewed(): boolean {
    const current = this.#options.identity.current()
    return current !== undefined && current.serialNumber !== this.#used?.serialNumber
  }

  /** Until woken, or the time is over. */
  #pause(ms: number | undefined): Promise<void> {
    if (this.#stop.signal.aborted || ms === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(() => this.#wake(), ms)
      this.#wake = () => {
        clearTimeout(timer)
        this.#wake = () => {}
        resolve()
      }
    })
  }
}

/** What the last attempt failed of, which a channel tells only to a call; undefined: it says nothing. */
function whyNot(channel: grpc.Client): Promise<Error | undefined> {
  const method = toServiceDefinition(PolicyBundles).Get
  return new Promise((resolve) => {
    if (method === undefined) return resolve(undefined)
    const deadline = Date.now() + EXPLAIN_TIMEOUT_MS
    channel.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      create(GetBundleRequestSchema),
      new grpc.Metadata(),
      { deadline },
      (error) => resolve(error ?? undefined),
    )
  })
}

/** Resolves when the channel is connected; rejects at the first failure, at the deadline, or when we stop. */
async function waitUntilReady(channel: grpc.Client, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + CONNECT_TIMEOUT_MS
  const { IDLE, CONNECTING, READY } = grpc.connectivityState
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const look = (error?: Error) => {
    if (error !== undefined) return reject(error)
    const state = channel.getChannel().getConnectivityState(true)
    if (state === READY) return resolve()
    if (state !== IDLE && state !== CONNECTING) return reject(new Error('connection failed'))
    channel.getChannel().watchConnectivityState(state, deadline, look)
  }
  const onAbort = () => reject(new Error('sidecar stops'))
  signal.addEventListener('abort', onAbort)
  look()
  return promise.finally(() => signal.removeEventListener('abort', onAbort))
}
