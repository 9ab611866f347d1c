/**
 * The OPA bundle API for sidecars: `GET /bundles/<namespace>/<name>`, ETag, long poll. Behind the mesh server's TLS.
 * In: requests whose peer the socket proves, bundles by `publish`. Out: 200, 304, or a refusal.
 * A peer learns nothing of other workloads: whatever is not its own is 403, there or not.
 * Source: https://www.openpolicyagent.org/docs/management-bundles ("Bundle Service API", "HTTP Long Polling").
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import {
  FEATURES,
  FEATURES_HEADER,
  missingFeatures,
  parseFeatures,
  WITHHELD_HEADER,
} from '../../../common/features.ts'
import type { Log, PolicyBundle } from '../../runtime/ports.ts'

interface Peer {
  readonly spiffeId: string
  readonly workloadUid: string
}

export interface BundleServerOptions {
  readonly peerOf: (socket: Socket) => Peer | undefined
  /** SPIFFE id of the workload with this UID in the current model. */
  readonly workloadOf: (uid: string) => { readonly spiffeId: string } | undefined
  readonly log: Log
}

const CONTENT_TYPE = 'application/vnd.openpolicyagent.bundles'
/** OPA's own servers allow minutes; a proxy in between would cut longer waits. */
const MAX_WAIT_SECONDS = 300
/** Waits of one workload at a time; one more ends the oldest. */
const MAX_WAITS = 4
const ANSWERS_A_TURN = 4

interface Asked {
  readonly peer: Peer
  readonly path: string
  /** If-None-Match. */
  readonly etags: string | undefined
  /** Tokens that the sidecar named. */
  readonly features: readonly string[]
}

interface Wait {
  readonly peer: Peer
  readonly path: string
  readonly revision: string
  /** Answers and forgets. */
  readonly end: () => void
}

export class BundleServer {
  readonly name = 'bundle-server'
  readonly #options: BundleServerOptions
  /** By workload UID, in the order of arrival. */
  readonly #waits = new Map<string, Set<Wait>>()
  /** Those who wait for what has come. */
  readonly #due = new Set<Wait>()
  #answering: NodeJS.Immediate | undefined
  #byUid: ReadonlyMap<string, PolicyBundle> | undefined

  constructor(options: BundleServerOptions) {
    this.#options = options
  }

  /** Replaces all bundles at once and answers those who wait for a change, a few at a time. */
  publish(bundles: Iterable<PolicyBundle>): void {
    this.#byUid = new Map([...bundles].map((b) => [b.workloadUid, b]))
    for (const wait of this.#allWaits()) if (this.#hasChanged(wait)) this.#due.add(wait)
    this.#answering ??= setImmediate(() => this.#answerSome())
  }

  /** A thousand archives are a second's work: what else the process does (ACKs, certificates) shall not wait for it. */
  #answerSome(): void {
    for (const wait of [...this.#due].slice(0, ANSWERS_A_TURN)) {
      this.#due.delete(wait)
      if (this.#hasChanged(wait)) wait.end()
    }
    this.#answering = this.#due.size > 0 ? setImmediate(() => this.#answerSome()) : undefined
  }

  #hasChanged({ peer, path, revision }: Wait): boolean {
    return this.#entitled(peer, path)?.revision !== revision
  }

  /** For `http.Server`. */
  readonly onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    request.resume()
    response.setHeader('cache-control', 'no-store')
    response.setHeader(FEATURES_HEADER, FEATURES.join(','))
    const peer = this.#options.peerOf(request.socket)
    if (peer === undefined) {
      refuse(response, 401, 'a client certificate of this mesh is required')
    } else if (request.method !== 'GET') {
      response.setHeader('allow', 'GET')
      refuse(response, 405, 'only GET is served')
    } else if (this.#byUid === undefined) {
      response.setHeader('retry-after', '1')
      refuse(response, 503, 'no bundles yet; try again')
    } else {
      this.#get(peer, request, response)
    }
  }

  /** Answers everybody who waits. */
  stop(): void {
    clearImmediate(this.#answering)
    for (const wait of this.#allWaits()) wait.end()
  }

  #get(peer: Peer, request: IncomingMessage, response: ServerResponse): void {
    const asked: Asked = {
      peer,
      path: (request.url ?? '').split('?')[0] ?? '',
      etags: request.headers['if-none-match'],
      features: parseFeatures(request.headers[FEATURES_HEADER]),
    }
    const bundle = this.#entitled(peer, asked.path)
    if (bundle === undefined) {
      this.#forbid(response, peer)
      return
    }
    const hasNews = lacksOf(bundle, asked).length === 0 && !matches(asked.etags, bundle.revision)
    const waitSeconds = hasNews || asked.etags === undefined ? 0 : waitOf(request.headers.prefer)
    if (waitSeconds === 0) this.#answer(response, bundle, asked)
    else this.#wait(asked, bundle.revision, response, waitSeconds)
  }

  #wait(asked: Asked, revision: string, response: ServerResponse, waitSeconds: number): void {
    const { peer, path } = asked
    const uid = peer.workloadUid
    const [oldest] = this.#waits.get(uid) ?? []
    if ((this.#waits.get(uid)?.size ?? 0) >= MAX_WAITS) oldest?.end()
    const own = this.#waits.get(uid) ?? new Set()
    const forget = () => {
      clearTimeout(timer)
      own.delete(wait)
      this.#due.delete(wait)
      if (own.size === 0 && this.#waits.get(uid) === own) this.#waits.delete(uid)
    }
    const end = () => {
      forget()
      const bundle = this.#entitled(peer, path)
      if (bundle === undefined) this.#forbid(response, peer)
      else this.#answer(response, bundle, asked)
    }
    const wait: Wait = { peer, path, revision, end }
    const timer = setTimeout(end, waitSeconds * 1000)
    this.#waits.set(uid, own.add(wait))
    response.on('close', forget)
  }

  #allWaits(): readonly Wait[] {
    return [...this.#waits.values()].flatMap((waits) => [...waits])
  }

  /** The bundle at `path`, if it is the peer's own. */
  #entitled(peer: Peer, path: string): PolicyBundle | undefined {
    if (this.#options.workloadOf(peer.workloadUid)?.spiffeId !== peer.spiffeId) return undefined
    const bundle = this.#byUid?.get(peer.workloadUid)
    return path === `/bundles/${bundle?.workload}` ? bundle : undefined
  }

  #answer(response: ServerResponse, bundle: PolicyBundle, asked: Asked): void {
    const lacks = lacksOf(bundle, asked)
    if (lacks.length > 0) {
      withhold(response, asked, lacks)
      return
    }
    response.setHeader('etag', `"${bundle.revision}"`)
    response.setHeader('content-type', CONTENT_TYPE)
    if (matches(asked.etags, bundle.revision)) {
      response.writeHead(304).end()
      return
    }
    bundle.pack().then(
      (archive) => {
        response.setHeader('content-length', archive.byteLength)
        response.writeHead(200).end(archive)
      },
      (err: unknown) => {
        this.#options.log.error({ err, workload: bundle.workload }, 'bundle was not packed')
        response.removeHeader('etag')
        refuse(response, 500, 'the bundle could not be packed')
      },
    )
  }

  #forbid(response: ServerResponse, peer: Peer): void {
    const { spiffeId, workloadUid } = peer
    const fields = { code: 'ERR_PEER_FORBIDDEN', spiffeId, workloadUid }
    this.#options.log.warn(fields, 'bundle refused: not the peer’s own')
    refuse(response, 403, 'this bundle is not the one of your certificate')
  }
}

/** What the sidecar lacks for this bundle: then what it has stays, and without any it goes on denying. */
function lacksOf(bundle: PolicyBundle, { features }: Asked): readonly string[] {
  return missingFeatures(bundle.requires, features)
}

function withhold(response: ServerResponse, { etags }: Asked, lacks: readonly string[]): void {
  response.setHeader(WITHHELD_HEADER, lacks.join(','))
  if (etags === undefined) refuse(response, 406, `the sidecar lacks ${lacks.join(', ')}`)
  else response.writeHead(304).end()
}

function refuse(response: ServerResponse, status: number, message: string): void {
  const body = JSON.stringify({ code: status, message })
  response.writeHead(status, { 'content-type': 'application/json' }).end(body)
}

/** RFC 9110 §13.1.2: weak comparison; `*` matches whatever is there. */
function matches(header: string | undefined, revision: string): boolean {
  const tags = (header ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(`"${revision}"`)
}

/** Seconds of `Prefer: modes=snapshot,delta;wait=10` (RFC 7240), at most five minutes; 0: no wait. */
function waitOf(header: string | string[] | undefined): number {
  const text = Array.isArray(header) ? header.join(',') : (header ?? '')
  const seconds = Number(/(?:^|[;,\s])wait=(\d{1,9})(?:[;,\s]|$)/.exec(text)?.[1] ?? 0)
  return Math.min(seconds, MAX_WAIT_SECONDS)
}
