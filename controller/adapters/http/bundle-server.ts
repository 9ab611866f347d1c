/**
 * The OPA bundle API: `GET /bundles/<namespace>/<name>`, ETag, long poll. Behind the mesh server's TLS.
 * In: requests whose peer the socket proves. Out: what the bundle desk replies, as 200, 304, or a refusal.
 * Source: https://www.openpolicyagent.org/docs/management-bundles ("Bundle Service API", "HTTP Long Polling").
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import {
  FEATURES,
  FEATURES_HEADER,
  parseFeatures,
  WITHHELD_HEADER,
} from '../../../common/features.ts'
import {
  type BundleDesk,
  type BundlePeer,
  type BundleReply,
  MAX_WAIT_SECONDS,
} from '../../runtime/bundle-desk.ts'
import type { Log, PolicyBundle } from '../../runtime/ports.ts'

export interface BundleServerOptions {
  readonly peerOf: (socket: Socket) => BundlePeer | undefined
  readonly desk: BundleDesk
  readonly log: Log
}

const CONTENT_TYPE = 'application/vnd.openpolicyagent.bundles'
const PREFIX = '/bundles/'

export class BundleServer {
  readonly name = 'bundle-server'
  readonly #options: BundleServerOptions

  constructor(options: BundleServerOptions) {
    this.#options = options
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
    } else {
      this.#get(peer, request, response)
    }
  }

  #get(peer: BundlePeer, request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').split('?')[0] ?? ''
    const etags = request.headers['if-none-match']
    const question = {
      peer,
      workload: path.startsWith(PREFIX) ? path.slice(PREFIX.length) : '',
      hasSome: etags !== undefined,
      has: (revision: string) => matches(etags, revision),
      features: parseFeatures(request.headers[FEATURES_HEADER]),
      waitSeconds: waitOf(request.headers.prefer),
    }
    const gone = this.#options.desk.ask(question, (reply) =>
      this.#answer(response, reply, { peer, hasSome: question.hasSome }),
    )
    response.on('close', gone)
  }

  #answer(
    response: ServerResponse,
    reply: BundleReply,
    { peer, hasSome }: { readonly peer: BundlePeer; readonly hasSome: boolean },
  ): void {
    if (reply.kind === 'notReady') {
      response.setHeader('retry-after', '1')
      refuse(response, 503, 'no bundles yet; try again')
    } else if (reply.kind === 'forbidden') {
      const { spiffeId, workloadUid } = peer
      const fields = { code: 'ERR_PEER_FORBIDDEN', spiffeId, workloadUid }
      this.#options.log.warn(fields, 'bundle refused: not the peer’s own')
      refuse(response, 403, 'this bundle is not the one of your certificate')
    } else if (reply.kind === 'withheld') {
      response.setHeader(WITHHELD_HEADER, reply.lacks.join(','))
      if (hasSome) response.writeHead(304).end()
      else refuse(response, 406, `the sidecar lacks ${reply.lacks.join(', ')}`)
    } else if (reply.kind === 'unchanged') {
      this.#name(response, reply.revision)
      response.writeHead(304).end()
    } else {
      this.#send(response, reply.bundle)
    }
  }

  #name(response: ServerResponse, revision: string): void {
    response.setHeader('etag', `"${revision}"`)
    response.setHeader('content-type', CONTENT_TYPE)
  }

  #send(response: ServerResponse, bundle: PolicyBundle): void {
    bundle.pack().then(
      (archive) => {
        this.#name(response, bundle.revision)
        response.setHeader('content-length', archive.byteLength)
        response.writeHead(200).end(archive)
      },
      (err: unknown) => {
        this.#options.log.error({ err, workload: bundle.workload }, 'bundle was not packed')
        refuse(response, 500, 'the bundle could not be packed')
      },
    )
  }
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
