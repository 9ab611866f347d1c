/**
 * What a Rego policy's result object asks for, checked before Envoy sees any of it: opa-envoy-plugin's fields
 * `headers`, `response_headers_to_add`, `request_headers_to_remove`, `query_parameters_to_set`,
 * `query_parameters_to_remove`, `body`, `http_status`, `dynamic_metadata`.
 * Envoy obeys whatever it is sent (LOWERING §5), so nothing that would rewrite the request's target or framing gets by.
 */
import type { JsonObject } from '@bufbuild/protobuf'
import { StatusCode } from '../../../proto/gen/envoy/type/v3/http_status_pb.js'

export type NameValue = readonly [name: string, value: string]
type ResultObject = Readonly<Record<string, unknown>>

/** What an allowed request is changed by. */
export interface Mutation {
  readonly headers: readonly NameValue[]
  readonly headersToRemove: readonly string[]
  readonly responseHeaders: readonly NameValue[]
  readonly queryToSet: readonly NameValue[]
  readonly queryToRemove: readonly string[]
  readonly dynamicMetadata: JsonObject
}

/** What a refused client gets. */
export interface Denial {
  /** 400–599, or a redirect. */
  readonly status: number
  readonly headers: readonly NameValue[]
  readonly body: string
  readonly dynamicMetadata: JsonObject
}

/** The result has another form than the plugin documents, or asks for what is never done. */
export class PolicyResultError extends Error {
  override readonly name = 'PolicyResultError'
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** The request's target and framing: Envoy would forward them rewritten, also with `validate_mutations`. */
const FORBIDDEN_HEADERS: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'transfer-encoding', 'connection', 'keep-alive', 'te', 'trailer'],
  ...['upgrade', 'proxy-connection', 'http2-settings'],
])
/** Envoy puts names and values into the path as they are: no blank, `#`, `&`, control or non-ASCII character. */
const QUERY_TEXT = /^[!"$%'-~]*$/
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const FORBIDDEN = 403

/** Errors: PolicyResultError. */
export function parseMutation(result: ResultObject): Mutation {
  return {
    headers: headersOf(result, 'headers'),
    headersToRemove: texts(result, 'request_headers_to_remove').map(checkHeaderName),
    responseHeaders: headersOf(result, 'response_headers_to_add'),
    queryToSet: queryOf(result),
    queryToRemove: texts(result, 'query_parameters_to_remove').map(checkQueryText),
    dynamicMetadata: metadataOf(result),
  }
}

/** Errors: PolicyResultError. */
export function parseDenial(result: ResultObject): Denial {
  return {
    status: statusOf(result),
    headers: headersOf(result, 'headers'),
    body: bodyOf(result),
    dynamicMetadata: metadataOf(result),
  }
}

function field(result: ResultObject, name: string): unknown {
  return Object.hasOwn(result, name) ? result[name] : undefined
}

/** Below 300 a refusal would look like success, 304 would bring a cached answer back. */
function statusOf(result: ResultObject): number {
  const status = field(result, 'http_status')
  if (status === undefined) return FORBIDDEN
  const isKnown = typeof status === 'number' && StatusCode[status] !== undefined
  if (isKnown && (status >= 400 || REDIRECTS.has(status))) return status
  throw new PolicyResultError('http_status of a denial must be an error or a redirect')
}

function bodyOf(result: ResultObject): string {
  const body = field(result, 'body')
  if (body === undefined) return ''
  if (typeof body !== 'string') throw new PolicyResultError('body must be a string')
  return body.toWellFormed()
}

function metadataOf(result: ResultObject): JsonObject {
  const metadata = field(result, 'dynamic_metadata')
  if (metadata === undefined) return {}
  if (!isObject(metadata)) throw new PolicyResultError('dynamic_metadata must be an object')
  return metadata as JsonObject
}

/** An object of names, or a list of such; each value a string or a list of strings. */
function headersOf(result: ResultObject, name: string): NameValue[] {
  const value = field(result, name)
  if (value === undefined) return []
  return (Array.isArray(value) ? value : [value])
    .flatMap((group) => pairs(group, name))
    .map(([header, text]) => [checkHeaderName(header), checkHeaderValue(header, text)])
}

function queryOf(result: ResultObject): NameValue[] {
  const value = field(result, 'query_parameters_to_set')
  if (value === undefined) return []
  return pairs(value, 'query_parameters_to_set').map(([name, text]) => {
    if (name.includes('=')) throw new PolicyResultError('a query parameter has a name with =')
    return [checkQueryText(name), checkQueryText(text)]
  })
}

/** By name: WASM gives an object's fields in the order of a hash. */
function pairs(group: unknown, where: string): NameValue[] {
  if (!isObject(group)) throw new PolicyResultError(`${where} must be an object`)
  const entries = Object.entries(group).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((text: unknown): NameValue => {
      if (typeof text !== 'string') throw new PolicyResultError(`${where}: values must be strings`)
      return [name, text]
    }),
  )
}

function texts(result: ResultObject, name: string): string[] {
  const value = field(result, name)
  if (value === undefined) return []
  if (!Array.isArray(value) || value.some((v) => typeof v !== 'string'))
    throw new PolicyResultError(`${name} must be a list of strings`)
  return value as string[]
}

function checkHeaderName(name: string): string {
  if (!TOKEN.test(name) || FORBIDDEN_HEADERS.has(name.toLowerCase()))
    throw new PolicyResultError(`header ${JSON.stringify(name)} may not be changed`)
  return name
}

function checkHeaderValue(name: string, value: string): string {
  const isClean = Buffer.from(value).every((c) => c === 0x09 || (c >= 0x20 && c !== 0x7f))
  if (!isClean || !value.isWellFormed())
    throw new PolicyResultError(`value of header ${JSON.stringify(name)} is malformed`)
  return value
}

function checkQueryText(text: string): string {
  if (!QUERY_TEXT.test(text)) throw new PolicyResultError('a query parameter is malformed')
  return text
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
