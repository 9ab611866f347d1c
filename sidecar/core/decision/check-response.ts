/**
 * Verdict → CheckResponse, always explicit: a status is always set, an allow always has ok_response, a denial always
 * has denied_response with its HTTP status. Envoy takes an empty message, an unset status, and status 0 with a
 * denied_response for *allow* (LOWERING §5); what is built here is none of these unless the verdict allows.
 */
import assert from 'node:assert'
import { create, type JsonObject } from '@bufbuild/protobuf'
import { HeaderValueOptionSchema } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type CheckResponse,
  CheckResponseSchema,
} from '../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import type { Denial, Mutation, NameValue } from './policy-result.ts'
import type { Verdict } from './verdict.ts'

/** google.rpc.Code. */
const OK = 0
const PERMISSION_DENIED = 7

export function toCheckResponse(verdict: Verdict, decisionId: string): CheckResponse {
  return verdict.allowed
    ? buildOk(verdict.mutation, saidOf(verdict, decisionId))
    : buildDenied(verdict.denial, saidOf(verdict, decisionId))
}

function buildOk(mutation: Mutation, said: JsonObject): CheckResponse {
  return create(CheckResponseSchema, {
    status: { code: OK },
    httpResponse: {
      case: 'okResponse',
      value: {
        headers: mutation.headers.map(toHeader),
        headersToRemove: [...mutation.headersToRemove],
        responseHeadersToAdd: mutation.responseHeaders.map(toHeader),
        queryParametersToSet: mutation.queryToSet.map(([key, value]) => ({ key, value })),
        queryParametersToRemove: [...mutation.queryToRemove],
      },
    },
    dynamicMetadata: { ...mutation.dynamicMetadata, ...said },
  })
}

function buildDenied(denial: Denial, said: JsonObject): CheckResponse {
  assert(denial.status >= 300, 'a denial has an HTTP status that is no success')
  return create(CheckResponseSchema, {
    status: { code: PERMISSION_DENIED },
    httpResponse: {
      case: 'deniedResponse',
      value: {
        status: { code: denial.status },
        headers: denial.headers.map(toHeader),
        body: denial.body,
      },
    },
    dynamicMetadata: { ...denial.dynamicMetadata, ...said },
  })
}

/** Without an append action, as the plugin sends it: a header of the request is replaced, never added to. */
function toHeader([key, value]: NameValue) {
  return create(HeaderValueOptionSchema, { header: { key, value } })
}

/** For the access log and traces. The first is the plugin's own key for the id. */
function saidOf({ allowed, policy, rule, reason }: Verdict, decisionId: string): JsonObject {
  const result = allowed ? 'allow' : 'deny'
  const postern = { result, policy, reason, ...(rule === undefined ? {} : { rule }) }
  return { decision_id: decisionId, postern }
}
