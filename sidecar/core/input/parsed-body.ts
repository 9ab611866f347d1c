/**
 * Body and headers of a CheckRequest → `parsed_body` and `truncated_body` of the Rego input.
 * Same rules as opa-envoy-plugin's getParsedBody; a body that it refuses throws ERR_INPUT_INVALID (denied with 400).
 * gRPC messages need descriptors, which Postern doesn't have yet: null, like the plugin without a descriptor set.
 */
import { MeshError } from '../../../common/errors.ts'
import { parseExactJson } from './exact-json.ts'
import { parseQuery } from './go-url.ts'
import { parseMediaType } from './media-type.ts'
import { parseMultipart } from './multipart.ts'

export interface RequestBody {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly rawBody: Uint8Array
}

export interface ParsedBody {
  /** Null when there is nothing to parse, or when the body is cut. */
  readonly value: unknown
  readonly truncated: boolean
}

const NOTHING: ParsedBody = { value: null, truncated: false }
const TRUNCATED: ParsedBody = { value: null, truncated: true }
const INT64 = /^[+-]?\d{1,19}$/

/** Errors: ERR_INPUT_INVALID. */
export function parseBody(request: RequestBody): ParsedBody {
  const { headers } = request
  if (headers['x-envoy-auth-partial-body'] === 'true') return TRUNCATED
  const contentType = headers['content-type']
  if (contentType === undefined) return NOTHING
  const parse = chooseParser(contentType)
  if (parse === undefined) return NOTHING
  const payload = request.body !== '' ? Buffer.from(request.body) : Buffer.from(request.rawBody)
  if (isCut(headers['content-length'], payload.length)) return TRUNCATED
  if (payload.length === 0) return NOTHING
  return { value: parse(payload, contentType), truncated: false }
}

type Parser = (payload: Buffer, contentType: string) => unknown

function chooseParser(contentType: string): Parser | undefined {
  if (contentType.includes('application/json')) return (b) => parseExactJson(b.toString())
  if (contentType.includes('application/grpc')) return undefined
  if (contentType.includes('application/x-www-form-urlencoded'))
    return (b) => parseQuery(b.toString())
  if (contentType.includes('multipart/form-data')) return parseForm
  return undefined
}

/** Whether Envoy sent less than the client announced; -1 means unknown. */
function isCut(contentLength: string | undefined, received: number): boolean {
  if (contentLength === undefined) return false
  if (!INT64.test(contentLength))
    throw new MeshError('ERR_INPUT_INVALID', 'content-length is not a number')
  return Number(contentLength) > received
}

function parseForm(payload: Buffer, contentType: string): unknown {
  const mediaType = parseMediaType(contentType)
  if (mediaType === undefined) throw new MeshError('ERR_INPUT_INVALID', 'content-type is malformed')
  const boundary = mediaType.parameters.get('boundary')
  if (boundary === undefined) return null
  const values = new Map<string, unknown[]>()
  for (const part of parseMultipart(payload, boundary)) {
    const text = Buffer.from(part.bytes).toString()
    const value = part.contentType.includes('application/json') ? parseExactJson(text) : text
    const list = values.get(part.name)
    if (list === undefined) values.set(part.name, [value])
    else list.push(value)
  }
  return Object.fromEntries(values)
}
