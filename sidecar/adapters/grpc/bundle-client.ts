/**
 * Policy bundles over the connection to the controller that ADS and status use: verified there, one TLS for all.
 * In: sessions by `attach`. Out: archives, unverified. A controller that has no such service is asked by OPA's HTTP API.
 * Source: proto/postern/bundle/v1alpha1/bundle.proto.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import * as grpc from '@grpc/grpc-js'
import { DEFAULT_BUNDLE_LIMITS } from '../../../common/bundle.ts'
import { MeshError } from '../../../common/errors.ts'
import { FEATURES, parseFeatures } from '../../../common/features.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  GetBundleRequestSchema,
  type GetBundleResponse,
  PolicyBundles,
} from '../../../proto/gen/postern/bundle/v1alpha1/bundle_pb.js'
import type { BundleAnswer, BundleSource } from '../../runtime/bundle-ports.ts'
import type { ControllerSession } from './controller-client.ts'

export interface SessionBundleOptions {
  /** `namespace/name`, our own. */
  readonly workload: string
  /** For a controller of a version before this service. */
  readonly older: BundleSource
}

type Request = Parameters<BundleSource['fetch']>[0]
type Session = Pick<ControllerSession, 'channel' | 'signal'>

/** Beyond the time that the controller was asked to wait. */
const ANSWER_TIMEOUT_MS = 10_000

export class SessionBundleSource implements BundleSource {
  readonly #options: SessionBundleOptions
  #session = openSession()
  /** The sessions' controllers that have no such service. */
  readonly #older = new WeakSet<Session>()

  constructor(options: SessionBundleOptions) {
    this.#options = options
  }

  attach(session: Session): void {
    // Who waits already, and who will.
    this.#session.resolve(session)
    const own = openSession()
    own.resolve(session)
    this.#session = own
    session.signal.addEventListener('abort', () => {
      if (this.#session === own) this.#session = openSession()
    })
  }

  /** A connection was tried in vain: who waits for one hears why. */
  missed(problem: Error): void {
    const waiting = this.#session
    this.#session = openSession()
    waiting.reject(toMeshError(problem))
  }

  async fetch(request: Request): Promise<BundleAnswer> {
    const session = await this.#untilSession(request.signal)
    if (this.#older.has(session)) return this.#options.older.fetch(request)
    try {
      return toAnswer(await this.#call(session, request))
    } catch (cause) {
      if (session.signal.aborted && !request.signal.aborted) return { kind: 'interrupted' }
      if ((cause as Partial<grpc.ServiceError>).code !== grpc.status.UNIMPLEMENTED)
        throw toMeshError(cause)
      this.#older.add(session)
      return this.#options.older.fetch(request)
    }
  }

  async #untilSession(signal: AbortSignal): Promise<Session> {
    const ended = new AbortController()
    const timeout = delay(ANSWER_TIMEOUT_MS, undefined, {
      signal: AbortSignal.any([signal, ended.signal]),
    }).then(
      () => undefined,
      () => undefined,
    )
    const session = await Promise.race([this.#session.promise, timeout])
    ended.abort()
    if (session === undefined) throw unavailable('there is no connection to the controller')
    return session
  }

  #call(session: Session, { etag, waitSeconds, signal }: Request): Promise<GetBundleResponse> {
    const method = toServiceDefinition(PolicyBundles).Get
    if (method === undefined) throw new Error('PolicyBundles.Get is not in the descriptor')
    const message = create(GetBundleRequestSchema, {
      workload: this.#options.workload,
      revision: etag?.replaceAll('"', '') ?? '',
      waitSeconds,
      features: [...FEATURES],
    })
    const ending = AbortSignal.any([signal, session.signal])
    return new Promise((resolve, reject) => {
      const call = session.channel.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        message,
        new grpc.Metadata(),
        { deadline: Date.now() + waitSeconds * 1000 + ANSWER_TIMEOUT_MS },
        (error, response) => {
          ending.removeEventListener('abort', cancel)
          if (error !== null) reject(error)
          else resolve(response as GetBundleResponse)
        },
      )
      const cancel = () => call.cancel()
      ending.addEventListener('abort', cancel, { once: true })
      if (ending.aborted) cancel()
    })
  }
}

function openSession(): PromiseWithResolvers<Session> {
  const session = Promise.withResolvers<Session>()
  // Nobody may be waiting.
  session.promise.catch(() => undefined)
  return session
}

function toAnswer(response: GetBundleResponse): BundleAnswer {
  const { revision, archive, withheld, time } = response
  const skew = time === undefined ? {} : { skewMs: timestampMs(time) - Date.now() }
  if (withheld.length > 0)
    return { ...skew, kind: 'unchanged', withheld: withheldText(parseFeatures(withheld)) }
  if (archive.length === 0) return { ...skew, kind: 'unchanged' }
  if (archive.length > DEFAULT_BUNDLE_LIMITS.maxArchiveBytes)
    throw new MeshError('ERR_BUNDLE_INVALID', 'bundle is too large')
  const features = parseFeatures(response.features)
  return { ...skew, kind: 'bundle', archive, etag: `"${revision}"`, features }
}

function withheldText(lacks: readonly string[]): string {
  return `it needs ${lacks.join(', ')}, which this sidecar does not have; upgrade it`
}

function toMeshError(cause: unknown): MeshError {
  if (cause instanceof MeshError) return cause
  const { code, details = String(cause) } = cause as Partial<grpc.ServiceError>
  const { UNAUTHENTICATED, PERMISSION_DENIED, FAILED_PRECONDITION } = grpc.status
  if (code === UNAUTHENTICATED || code === PERMISSION_DENIED)
    return new MeshError('ERR_PEER_FORBIDDEN', details, { retry: 'backoff' })
  if (code === FAILED_PRECONDITION)
    return new MeshError('ERR_BUNDLE_INVALID', `${details}; upgrade it`, { retry: 'backoff' })
  return unavailable(`controller not reached: ${details}`, cause)
}

function unavailable(message: string, cause?: unknown): MeshError {
  return new MeshError('ERR_CONTROLLER_UNAVAILABLE', message, { retry: 'backoff', cause })
}
