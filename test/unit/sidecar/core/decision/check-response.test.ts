import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import type { AuthzDecision } from '../../../../../common/authz/combine.ts'
import { MESH_ERROR_CODES } from '../../../../../common/errors.ts'
import type { PolicySet } from '../../../../../common/policy-set.ts'
import {
  type CheckResponse,
  CheckResponseSchema,
} from '../../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { toCheckResponse } from '../../../../../sidecar/core/decision/check-response.ts'
import {
  refuse,
  refuseByGuard,
  toVerdict,
  type Verdict,
} from '../../../../../sidecar/core/decision/verdict.ts'

/** What Envoy 1.40 does with an answer: the table of LOWERING §5, as a function. `open`: the request goes on. */
function envoyTakesItFor(bytes: Uint8Array): 'open' | 'closed' {
  const response = fromBinary(CheckResponseSchema, bytes)
  return (response.status?.code ?? 0) === 0 ? 'open' : 'closed'
}

/** The same reading, on the table's own rows: what a careless server would send. */
t.test('the table: what Envoy takes for an allow', async (t) => {
  const rows: [string, CheckResponse, 'open' | 'closed'][] = [
    ['an empty message', create(CheckResponseSchema), 'open'],
    [
      'status 0 with denied_response',
      create(CheckResponseSchema, {
        status: { code: 0 },
        httpResponse: { case: 'deniedResponse', value: {} },
      }),
      'open',
    ],
    [
      'denied_response with status unset',
      create(CheckResponseSchema, { httpResponse: { case: 'deniedResponse', value: {} } }),
      'open',
    ],
    [
      'error_response with status 0',
      create(CheckResponseSchema, { httpResponse: { case: 'errorResponse', value: {} } }),
      'open',
    ],
    [
      'status 13 with ok_response',
      create(CheckResponseSchema, {
        status: { code: 13 },
        httpResponse: { case: 'okResponse', value: {} },
      }),
      'closed',
    ],
  ]
  for (const [name, response, want] of rows)
    t.equal(envoyTakesItFor(toBinary(CheckResponseSchema, response)), want, name)
})

const SET: PolicySet = {
  workload: 'shop/orders',
  trustDomain: 'mesh.local',
  defaultAction: 'DENY',
  defaultMode: 'Enforce',
  policies: [],
}

function decision(over: Partial<AuthzDecision>): AuthzDecision {
  return {
    allowed: false,
    policy: 'shop/p',
    reason: 'not-matched',
    shadow: [],
    audit: [],
    matchedAllow: [],
    failedOpen: [],
    outcomes: new Map(),
    ...over,
  }
}

const denyObject = { allowed: false, http_status: 401, body: 'no', headers: { 'x-why': 'token' } }
const denied: readonly [string, Verdict, number][] = [
  ...MESH_ERROR_CODES.map((code): [string, Verdict, number] => [
    code,
    refuse(code, 'x'),
    code === 'ERR_INPUT_INVALID' ? 400 : 503,
  ]),
  ['a malformed path', refuseByGuard('guard/path'), 400],
  ['two identities', refuseByGuard('guard/san'), 403],
  ['no SPIFFE id', refuseByGuard('guard/identity'), 403],
  ['no match', toVerdict(SET, decision({})), 403],
  ['the default', toVerdict(SET, decision({ policy: 'default', reason: 'default-deny' })), 403],
  [
    "a policy's own answer",
    toVerdict(
      SET,
      decision({
        denial: 'shop/p',
        outcomes: new Map([['shop/p', { kind: 'result', allowed: false, object: denyObject }]]),
      }),
    ),
    401,
  ],
  [
    'a policy that failed',
    toVerdict(
      SET,
      decision({ reason: 'ERR_POLICY_ERROR', error: { code: 'ERR_POLICY_ERROR', message: 'x' } }),
    ),
    503,
  ],
  [
    'an input that cannot be read',
    toVerdict(
      SET,
      decision({ reason: 'ERR_INPUT_INVALID', error: { code: 'ERR_INPUT_INVALID', message: 'x' } }),
    ),
    400,
  ],
  [
    'a conflict of two allowing policies',
    toVerdict(
      SET,
      decision({
        allowed: true,
        matchedAllow: ['shop/a', 'shop/b'],
        outcomes: new Map(
          ['1', '2'].map((v, i) => [
            `shop/${'ab'[i]}`,
            { kind: 'result', allowed: true, object: { allowed: true, headers: { 'x-a': v } } },
          ]),
        ),
      }),
    ),
    503,
  ],
]
for (const [name, verdict, status] of denied)
  t.test(`${name} is denied explicitly, with ${status}`, async (t) => {
    const response = toCheckResponse(verdict, 'id-1')
    t.equal(verdict.allowed, false)
    t.equal(envoyTakesItFor(toBinary(CheckResponseSchema, response)), 'closed')
    t.match(response, {
      status: { code: 7 },
      httpResponse: { case: 'deniedResponse', value: { status: { code: status } } },
      dynamicMetadata: { decision_id: 'id-1' },
    })
  })

t.test("a denial carries the policy's headers, body and metadata", async (t) => {
  const object = { ...denyObject, dynamic_metadata: { a: 1 } }
  const outcomes = new Map([['shop/p', { kind: 'result' as const, allowed: false, object }]])
  const response = toCheckResponse(toVerdict(SET, decision({ denial: 'shop/p', outcomes })), 'id')
  t.match(response, {
    httpResponse: {
      value: { body: 'no', headers: [{ header: { key: 'x-why', value: 'token' } }] },
    },
    dynamicMetadata: { a: 1, decision_id: 'id' },
  })
})

t.test('an allow is explicit too, with all that its policies ask for', async (t) => {
  const object = {
    allowed: true,
    headers: { 'x-user': 'ann' },
    request_headers_to_remove: ['x-secret'],
    response_headers_to_add: { 'x-foo': 'bar' },
    query_parameters_to_set: { a: '1' },
    query_parameters_to_remove: ['b'],
    dynamic_metadata: { decision_id: 'forged', n: 1 },
  }
  const allowed = decision({
    allowed: true,
    reason: 'matched',
    matchedAllow: ['shop/plain', 'shop/p'],
    outcomes: new Map([['shop/p', { kind: 'result', allowed: true, object }]]),
  })
  const response = toCheckResponse(toVerdict(SET, allowed), 'id-1')
  t.equal(envoyTakesItFor(toBinary(CheckResponseSchema, response)), 'open')
  t.match(response, {
    status: { code: 0 },
    httpResponse: {
      case: 'okResponse',
      value: {
        headers: [{ header: { key: 'x-user', value: 'ann' }, append: undefined, appendAction: 0 }],
        headersToRemove: ['x-secret'],
        responseHeadersToAdd: [{ header: { key: 'x-foo', value: 'bar' } }],
        queryParametersToSet: [{ key: 'a', value: '1' }],
        queryParametersToRemove: ['b'],
      },
    },
    dynamicMetadata: { n: 1, decision_id: 'id-1' },
  })
  const plain = toCheckResponse(toVerdict(SET, decision({ allowed: true })), 'id')
  t.equal(plain.httpResponse.case, 'okResponse')
})

t.test('a success status can not be built for a denial', async (t) => {
  const denial = { status: 200, headers: [], body: '', dynamicMetadata: {} }
  t.throws(() => toCheckResponse({ ...refuse('ERR_INTERNAL', 'x'), allowed: false, denial }, 'id'))
})
