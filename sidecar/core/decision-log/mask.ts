/**
 * What a decision log must not keep: credentials in headers and query strings, and long bodies.
 * In: a Rego input and a policy's result. Out: copies that are safe to write, and the JSON pointers of what was changed.
 * Source: OPA decision logs, `masked` and `erased`.
 */
import { isSecretParameter, MASK, maskQuery } from './mask-query.ts'

type Fields = Readonly<Record<string, unknown>>

export interface Masked {
  readonly value: unknown
  /** JSON pointers of replaced values. */
  readonly masked: readonly string[]
  /** JSON pointers of removed values. */
  readonly erased: readonly string[]
}

const SECRET_HEADERS: ReadonlySet<string> = new Set([
  ...['authorization', 'cookie', 'proxy-authorization', 'set-cookie', 'x-amz-security-token'],
  ...['ocp-apim-subscription-key', 'x-functions-key'],
])
/** By the end of its name: `x-api-key`, `x-auth-token`, `x-csrf-token`, `client-secret`, `x-original-authorization`. */
const SECRET_NAME = /(^|[-_])(api[-_]?key|access[-_]?key|token|secret|password|authorization)$/
/** Bytes of a body that are logged. */
export const MAX_BODY_BYTES = 4096
const HTTP = ['attributes', 'request', 'http'] as const

/** Pointers start with `/input`. A body that is too long is cut, and its parsed form removed. */
export function maskInput(input: Fields): Masked {
  const http = fieldsAt(input, HTTP)
  if (http === undefined) return { value: input, masked: [], erased: [] }
  const masked: string[] = []
  const at = `/input/${HTTP.join('/')}`
  const changed: Record<string, unknown> = { ...http }
  if (typeof http.path === 'string') changed.path = maskPath(http.path, `${at}/path`, masked)
  if (isFields(http.headers)) changed.headers = maskNames(http.headers, `${at}/headers`, masked)
  const headerMap = fieldsAt(http, ['headerMap'])
  if (headerMap !== undefined) changed.headerMap = maskHeaderMap(headerMap, at, masked)
  for (const name of ['body', 'rawBody']) {
    const body = http[name]
    if (typeof body !== 'string' || Buffer.byteLength(body) <= MAX_BODY_BYTES) continue
    changed[name] = cutText(body)
    masked.push(`${at}/${name}`)
  }
  const isCut = masked.some((p) => /ody$/.test(p) && p.startsWith(`${at}/`))
  const query = isFields(input.parsed_query) ? maskParsed(input.parsed_query, masked) : undefined
  const replaced = replaceHttp(
    query === undefined ? input : { ...input, parsed_query: query },
    changed,
  )
  const { parsed_body: parsedBody, ...rest } = replaced
  return isCut && parsedBody !== undefined
    ? { value: rest, masked, erased: ['/input/parsed_body'] }
    : {
        value: parsedBody === undefined ? rest : { ...rest, parsed_body: parsedBody },
        masked,
        erased: [],
      }
}

/** Pointers start with `/result`. */
export function maskResult(result: unknown): Masked {
  if (!isFields(result)) return { value: result, masked: [], erased: [] }
  const masked: string[] = []
  const changed: Record<string, unknown> = { ...result }
  for (const name of ['headers', 'response_headers_to_add']) {
    const groups = result[name]
    if (isFields(groups)) changed[name] = maskNames(groups, `/result/${name}`, masked)
    if (Array.isArray(groups))
      changed[name] = groups.map((g: unknown, i) =>
        isFields(g) ? maskNames(g, `/result/${name}/${i}`, masked) : g,
      )
  }
  return { value: changed, masked, erased: [] }
}

function maskPath(path: string, at: string, masked: string[]): string {
  const { value, names } = maskQuery(path)
  if (names.length > 0) masked.push(at)
  return value
}

/** Name → values, as Rego sees a query. */
function maskParsed(query: Fields, masked: string[]): Fields {
  return Object.fromEntries(
    Object.entries(query).map(([name, values]) => {
      if (!isSecretParameter(name)) return [name, values]
      masked.push(`/input/parsed_query/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`)
      return [name, [MASK]]
    }),
  )
}

/** Headers that hold a path of their own. */
const PATH_HEADERS: ReadonlySet<string> = new Set([':path', 'referer', 'x-original-path'])

function maskNames(headers: Fields, at: string, masked: string[]): Fields {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      if (PATH_HEADERS.has(name) && typeof value === 'string')
        return [name, maskPath(value, `${at}/${name}`, masked)]
      if (!isSecretHeader(name)) return [name, value]
      masked.push(`${at}/${name}`)
      return [name, MASK]
    }),
  )
}

function isSecretHeader(name: string): boolean {
  const lower = name.toLowerCase()
  return SECRET_HEADERS.has(lower) || SECRET_NAME.test(lower)
}

function maskHeaderMap(headerMap: Fields, at: string, masked: string[]): Fields {
  if (!Array.isArray(headerMap.headers)) return headerMap
  const headers = headerMap.headers.map((header: unknown, i) => {
    const isSecret = isFields(header) && isSecretHeader(String(header.key))
    if (!isSecret) return header
    masked.push(`${at}/headerMap/headers/${i}`)
    return { key: header.key, value: MASK }
  })
  return { ...headerMap, headers }
}

function cutText(text: string): string {
  return new TextDecoder().decode(Buffer.from(text).subarray(0, MAX_BODY_BYTES), { stream: true })
}

function replaceHttp(input: Fields, http: Fields): Fields {
  const attributes = input.attributes as Fields
  const request = attributes.request as Fields
  return { ...input, attributes: { ...attributes, request: { ...request, http } } }
}

function fieldsAt(value: Fields, path: readonly string[]): Fields | undefined {
  let at: unknown = value
  for (const name of path) at = isFields(at) ? at[name] : undefined
  return isFields(at) ? at : undefined
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
