/**
 * CheckRequest → the `input` document of a Rego policy, as opa-envoy-plugin builds it (envoyauth/request.go):
 * `attributes`, `parsed_path`, `parsed_query`, `parsed_body`, `truncated_body`, `version`, `source_principal`.
 * A request that the plugin refuses to read throws ERR_INPUT_INVALID and is denied with 400.
 */
import type { CheckRequest } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { CheckRequestSchema } from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { cut, parsePath, parseQuery } from './go-url.ts'
import { parseBody } from './parsed-body.ts'
import { protomap } from './protomap.ts'

/** JSON object. Numbers that a double would change are held as JSON.rawJSON. */
export type RegoInput = Readonly<Record<string, unknown>>

/** Postern's own request header; a policy never sees it. */
export const DECISION_ID_HEADER = 'x-postern-decision-id'

const VERSION = { ext_authz: 'v3', encoding: 'protojson' } as const

/** Errors: ERR_INPUT_INVALID. Source: opa-envoy-plugin RequestToInput. */
export function toRegoInput(request: CheckRequest): RegoInput {
  const http = request.attributes?.request?.http
  const path = http?.path ?? ''
  const body = parseBody({
    headers: http?.headers ?? {},
    body: http?.body ?? '',
    rawBody: http?.rawBody ?? new Uint8Array(),
  })
  const principal = request.attributes?.source?.principal ?? ''
  return {
    ...toAttributes(request),
    version: VERSION,
    parsed_path: parsePath(path),
    parsed_query: parseQuery(cut(path, '?')[1]),
    parsed_body: body.value,
    truncated_body: body.truncated,
    ...(principal === '' ? {} : { source_principal: principal }),
  }
}

/** `{attributes}` alone, without Postern's header; never throws. What the decision log shows of an unreadable request. */
export function toAttributes(request: CheckRequest): RegoInput {
  const { attributes } = request
  const http = attributes?.request?.http
  if (attributes === undefined || http === undefined) return protomap(CheckRequestSchema, request)
  const visible = {
    ...http,
    headers: without(http.headers),
    ...(http.headerMap === undefined
      ? {}
      : {
          headerMap: {
            ...http.headerMap,
            headers: http.headerMap.headers.filter((h) => h.key !== DECISION_ID_HEADER),
          },
        }),
  }
  return protomap(CheckRequestSchema, {
    ...request,
    attributes: { ...attributes, request: { ...attributes.request, http: visible } },
  } as CheckRequest)
}

function without(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== DECISION_ID_HEADER))
}
