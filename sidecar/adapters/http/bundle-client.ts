/**
 * OPA's bundle API over mutual TLS: GET /bundles/<namespace>/<name> on the controller's one port (ALPN http/1.1).
 * In: SVIDs. Out: archives, unverified. Speaks only to the controller: its chain must end in the trust bundle that came
 * with the SVID, and its certificate must name the reserved SPIFFE id. A renewed SVID gets a new connection at once.
 * Source: https://www.openpolicyagent.org/docs/management-bundles ("HTTP Long Polling")
 */

import type { IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import { DEFAULT_BUNDLE_LIMITS } from '../../../common/bundle.ts'
import { MeshError, type MeshErrorCode } from '../../../common/errors.ts'
import {
  FEATURES,
  FEATURES_HEADER,
  parseFeatures,
  WITHHELD_HEADER,
} from '../../../common/features.ts'
import { toPem } from '../../../common/pem.ts'
import { parseSpiffeId } from '../../../common/spiffe-id.ts'
import { findControllerFault, withoutNodeHint } from '../../core/identity/controller-trust.ts'
import type { IdentitySource, Svid } from '../../ports.ts'
import type { BundleAnswer, BundleSource } from '../../runtime/bundle-ports.ts'

export interface BundleClientOptions {
  /** `HOST:PORT`. */
  readonly target: string
  readonly identity: IdentitySource
}

/** Beyond the time that the controller was asked to wait. */
const ANSWER_TIMEOUT_MS = 10_000
/** Sent as server name; the controller's certificate is checked by its URI, never by a DNS name. */
const SERVER_NAME = 'postern-controller'

export class BundleClient implements BundleSource {
  readonly #options: BundleClientOptions
  readonly #leaveIdentity: () => void
  #connection: { readonly agent: Agent; readonly svid: Svid } | undefined
  /** Ends what is under way when the SVID is renewed. */
  #renewal = new AbortController()

  constructor(options: BundleClientOptions) {
    this.#options = options
    this.#leaveIdentity = options.identity.subscribe((svid) => this.#connect(svid))
  }

  async fetch(request: {
    readonly etag: string | undefined
    readonly waitSeconds: number
    readonly signal: AbortSignal
  }): Promise<BundleAnswer> {
    const connection = this.#connection
    if (connection === undefined) throw unavailable('this workload has no certificate yet')
    const renewed = this.#renewal.signal
    const timeout = AbortSignal.timeout(request.waitSeconds * 1000 + ANSWER_TIMEOUT_MS)
    const signal = AbortSignal.any([request.signal, renewed, timeout])
    const { namespace, name } = connection.svid.workload
    try {
      const response = await send({
        target: this.#options.target,
        agent: connection.agent,
        path: `/bundles/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`,
        headers: {
          [FEATURES_HEADER]: FEATURES.join(','),
          prefer: `modes=snapshot;wait=${request.waitSeconds}`,
          ...(request.etag === undefined ? {} : { 'if-none-match': request.etag }),
        },
        signal,
      })
      return await toAnswer(response)
    } catch (cause) {
      if (renewed.aborted && !request.signal.aborted) return { kind: 'interrupted' }
      throw cause instanceof MeshError ? cause : unreachable(cause)
    }
  }

  close(): void {
    this.#leaveIdentity()
    this.#renewal.abort()
    this.#connection?.agent.destroy()
  }

  #connect(svid: Svid): void {
    this.#connection?.agent.destroy()
    this.#connection = { agent: toAgent(svid), svid }
    this.#renewal.abort()
    this.#renewal = new AbortController()
  }
}

function toAgent(svid: Svid): Agent {
  const trustDomain = parseSpiffeId(svid.spiffeId)?.trustDomain ?? ''
  return new Agent({
    keepAlive: true,
    maxSockets: 2,
    // a resumed session would skip the check of the server's identity
    maxCachedSessions: 0,
    ca: svid.trustBundle.map(toPem),
    cert: svid.certificateChain.map(toPem).join(''),
    key: svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }),
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['http/1.1'],
    servername: SERVER_NAME,
    checkServerIdentity: (_name, certificate) => {
      const fault = findControllerFault(certificate.raw, trustDomain)
      return fault === undefined ? undefined : untrusted(fault)
    },
  })
}

function send(call: {
  readonly target: string
  readonly agent: Agent
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}): Promise<IncomingMessage> {
  const { target, agent, path, headers, signal } = call
  const { hostname, port } = new URL(`https://${target}`)
  return new Promise((resolve, reject) => {
    const host = hostname.replace(/^\[|\]$/g, '')
    const request = httpsRequest({
      host,
      port: port === '' ? 443 : port,
      agent,
      path,
      headers,
      signal,
    })
    request.on('response', resolve)
    request.on('error', reject)
    request.end()
  })
}

async function toAnswer(response: IncomingMessage): Promise<BundleAnswer> {
  const { statusCode, headers } = response
  const skew = skewOf(headers.date)
  if (statusCode === 200)
    return {
      ...skew,
      kind: 'bundle',
      archive: await readBody(response),
      etag: headers.etag,
      features: parseFeatures(headers[FEATURES_HEADER]),
    }
  response.resume()
  const lacks = parseFeatures(headers[WITHHELD_HEADER])
  const withheld = `it needs ${lacks.join(', ')}, which this sidecar does not have; upgrade it`
  if (statusCode === 304)
    return { ...skew, kind: 'unchanged', ...(lacks.length === 0 ? {} : { withheld }) }
  if (lacks.length > 0) throw new MeshError('ERR_BUNDLE_INVALID', withheld, { retry: 'backoff' })
  const code: MeshErrorCode =
    statusCode === 401 || statusCode === 403 ? 'ERR_PEER_FORBIDDEN' : 'ERR_CONTROLLER_UNAVAILABLE'
  throw new MeshError(code, `controller answers ${statusCode}`, { retry: 'backoff' })
}

/** `Date` is cut to the second: on average half a second early. */
function skewOf(date: string | undefined): { readonly skewMs?: number } {
  const serverMs = Date.parse(date ?? '')
  return Number.isNaN(serverMs) ? {} : { skewMs: serverMs + 500 - Date.now() }
}

async function readBody(response: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response) {
    size += (chunk as Buffer).length
    if (size > DEFAULT_BUNDLE_LIMITS.maxArchiveBytes) {
      response.destroy()
      throw new MeshError('ERR_BUNDLE_INVALID', 'bundle is too large')
    }
    chunks.push(chunk as Buffer)
  }
  if (!response.complete) throw unavailable('bundle was cut off')
  return Buffer.concat(chunks)
}

/** OpenSSL's own words for a chain that doesn't end in our roots, or is out of its time. */
const CHAIN_FAULT = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|INVALID_|ERR_TLS_CERT)/

function unreachable(cause: unknown): MeshError {
  const { code, message } = cause as NodeJS.ErrnoException
  return CHAIN_FAULT.test(code ?? '')
    ? untrusted(withoutNodeHint(message))
    : unavailable('controller not reached', cause)
}

function untrusted(fault: string): MeshError {
  const message = `server is not the controller: ${fault}`
  return new MeshError('ERR_CONTROLLER_UNTRUSTED', message, { retry: 'backoff' })
}

function unavailable(message: string, cause?: unknown): MeshError {
  const detail = cause instanceof Error ? `: ${cause.message}` : ''
  return new MeshError('ERR_CONTROLLER_UNAVAILABLE', message + detail, { retry: 'backoff', cause })
}
