/**
 * A request up to the first policy: does the port take the connection, does Envoy take the request, and in which form do
 * policies see it. In: a version of the callee's configuration, the request as sent. Out: what arrives, or who refuses it.
 */
import {
  type Arrival,
  arriveHeaders,
  checkMethod,
  normalisePath,
  normaliseSentHost,
  readTarget,
} from '../../common/authz/arrival.ts'
import { MeshError } from '../../common/errors.ts'
import type { InboundPort } from '../../controller/core/model/mesh.ts'
import { type AskedRequest, decidingConfig, type Version } from './asked.ts'

/** What policies see. */
export interface Arrived {
  readonly address: string
  readonly port: number
  readonly transport: 'tls' | 'plaintext'
  readonly principal: string | undefined
  readonly sourceAddress: string
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface Refusal {
  readonly ok: false
  readonly stage: 'connection' | 'http'
  readonly why: string
  readonly status?: number
  readonly notes: readonly string[]
}

export type Arriving =
  | { readonly ok: true; readonly request: Arrived; readonly notes: readonly string[] }
  | Refusal

/** Some id: Envoy makes one for each request. */
const DECISION_ID = '00000000-0000-4000-8000-000000000000'

/** Errors: ERR_NOT_FOUND when the workload serves no such port. */
export function arrive(version: Version, asked: AskedRequest): Arriving {
  const port = findPort(version, asked.port)
  const refusal = refuseConnection(version, asked)
  if (refusal !== undefined) return { ok: false, stage: 'connection', why: refusal, notes: [] }
  const notes = connectionNotes(asked)
  const connection = {
    address: port.address,
    port: port.port,
    transport: asked.transport,
    principal: asked.transport === 'tls' ? asked.principal : undefined,
    sourceAddress: asked.sourceAddress,
  }
  if (port.protocol === 'TCP') {
    const none = { method: '', path: '', host: '', headers: {}, body: new Uint8Array() }
    return { ok: true, request: { ...connection, ...none }, notes }
  }
  const http = arriveHttp(asked)
  if (!('headers' in http)) return { ok: false, stage: 'http', ...http, notes }
  const body = asked.body ?? new Uint8Array()
  const headers = { ...http.headers, ...envoyHeaders(asked, http.headers, body) }
  const { method, path, host } = http
  const request = { ...connection, method, path, host, headers, body }
  return { ok: true, request, notes: [...notes, ...http.notes] }
}

export function findPort({ inbound }: Pick<Version, 'inbound'>, port: number): InboundPort {
  const found = inbound.find((p) => p.port === port)
  if (found !== undefined) return found
  const ports = inbound.map((p) => `${p.port} (${p.name})`).join(', ')
  const message = `the workload serves no port ${port}; it serves ${ports || 'none'}`
  throw new MeshError('ERR_NOT_FOUND', message)
}

/** Why TLS or the port's mode refuses; undefined: they take it. */
function refuseConnection(
  version: Version,
  { port, transport, principal }: AskedRequest,
): string | undefined {
  if (decidingConfig(version, port, transport) === undefined) {
    return transport === 'plaintext'
      ? 'the port takes mutual TLS only: plaintext finds no filter chain and is closed'
      : 'the port takes no mutual TLS'
  }
  if (transport === 'plaintext') return undefined
  if (principal === undefined) return 'TLS handshake: a client certificate is required'
  return principal.startsWith(`spiffe://${version.trustDomain}/`)
    ? undefined
    : `TLS handshake: the certificate’s name is not of the trust domain ${version.trustDomain}`
}

function connectionNotes({ transport, principal }: AskedRequest): readonly string[] {
  return transport === 'plaintext' && principal !== undefined
    ? ['over plaintext nobody proves who he is: policies see no principal']
    : []
}

interface Http {
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: Readonly<Record<string, string>>
  readonly notes: readonly string[]
}

function arriveHttp(asked: AskedRequest): Http | { readonly why: string; readonly status: number } {
  const headers = arriveHeaders(asked.headers.filter(([name]) => !isHost(name)))
  const sentHost = hostOf(asked)
  const target = readTarget(asked.method, asked.path, sentHost)
  const [method, path, host] = [
    checkMethod(asked.method, headers.headers['content-type'] !== undefined),
    target.ok ? normalisePath(target.path) : target,
    target.ok ? normaliseSentHost(target.host) : target,
  ]
  const refusal = [method, path, host, headers.refusal].find(isRefusal)
  if (refusal !== undefined) return { why: refusal.why, status: refusal.status }
  const value = (arrival: Arrival) => (arrival.ok ? arrival.value : '')
  const { removed } = headers
  return {
    method: value(method),
    path: value(path),
    host: value(host),
    headers: headers.headers,
    notes: [
      ...changed('path', asked.path, value(path)),
      ...changed('host', sentHost, value(host)),
      ...(removed.length === 0 ? [] : [`Envoy takes away ${removed.join(', ')}`]),
    ],
  }
}

function isHost(name: string): boolean {
  return name.toLowerCase() === 'host'
}

/** Sent twice it is one text, unless one is empty; the guard `guard/host` refuses that. */
function hostOf({ host, headers }: AskedRequest): string {
  const more = headers.filter(([name]) => isHost(name)).map(([, value]) => value)
  return [host, ...more]
    .map((value) => value.trim())
    .filter((value) => value !== '')
    .join(',')
}

function isRefusal(arrival: Arrival | undefined): arrival is Extract<Arrival, { ok: false }> {
  return arrival !== undefined && !arrival.ok
}

function changed(what: string, sent: string, seen: string): readonly string[] {
  return sent === seen ? [] : [`the ${what} ${sent} is ${seen} to policies and app`]
}

/** What Envoy adds when the client did not; `http` is what the caller's own Envoy says. */
function envoyHeaders(
  { transport, principal }: AskedRequest,
  sent: Readonly<Record<string, string>>,
  body: Uint8Array,
): Record<string, string> {
  return {
    'x-forwarded-proto': sent['x-forwarded-proto'] ?? 'http',
    'x-request-id': sent['x-request-id'] ?? DECISION_ID,
    'x-postern-decision-id': DECISION_ID,
    ...(body.length === 0 ? {} : { 'content-length': String(body.length) }),
    ...(transport === 'tls' ? { 'x-forwarded-client-cert': `URI=${principal ?? ''}` } : {}),
  }
}
