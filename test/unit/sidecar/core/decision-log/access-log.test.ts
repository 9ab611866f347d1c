import { createRegistry, fromJson, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import { StringValueSchema } from '@bufbuild/protobuf/wkt'
import t from 'tap'
import type { Policy, PolicySet } from '../../../../../common/policy-set.ts'
import {
  HTTPAccessLogEntrySchema,
  TCPAccessLogEntrySchema,
} from '../../../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import { fromAccessLogEntry } from '../../../../../sidecar/core/decision-log/access-log.ts'
import { makePolicy, makeSet } from '../../../../kit/check.ts'

const anyone = [{ id: 'shop/web/rules[0]', from: [], to: [], when: [] }]
const ALLOW = makePolicy({ name: 'web', rules: anyone })

function context(policies: readonly Policy[] = [ALLOW], over: Partial<PolicySet> = {}) {
  return {
    set: makeSet(policies, over),
    revision: 'r1',
    newId: () => 'new-id',
    nowNs: 7n,
    whyNoAnswer: () => undefined,
  }
}

function common(more: JsonObject = {}): JsonObject {
  return {
    startTime: '2026-11-24T08:00:00.000000001Z',
    downstreamDirectRemoteAddress: { socketAddress: { address: '127.0.0.9', portValue: 4000 } },
    downstreamLocalAddress: { socketAddress: { address: '127.0.0.1', portValue: 8080 } },
    tlsProperties: {
      peerCertificateProperties: {
        subjectAltName: [{ uri: 'spiffe://mesh.local/ns/shop/sa/web' }],
      },
    },
    ...more,
  }
}

function http(
  said: Record<string, string>,
  response: JsonObject,
  more: JsonObject = {},
): Parameters<typeof fromAccessLogEntry>[0] {
  const metadata = { filterMetadata: { 'envoy.filters.http.rbac': said } }
  return {
    logName: 'postern',
    protocol: 'http',
    entry: fromJson(HTTPAccessLogEntrySchema, {
      commonProperties: common({ metadata, ...more }),
      request: {
        requestMethod: 'GET',
        path: '/items?x=1',
        authority: 'orders:8080',
        requestHeaders: {
          'x-postern-decision-id': 'id-1',
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        },
      },
      response,
    } as JsonValue),
  }
}

const ALLOWED = {
  enf_enforced_engine_result: 'allowed',
  enf_enforced_effective_policy_id: 'shop/web/rules[0]',
}
/** As Envoy says it of the two slots that an older controller made. */
const ALLOWED_BEFORE = {
  ...ALLOWED,
  low_shadow_engine_result: 'allowed',
  low_shadow_effective_policy_id: 'decided',
}

t.test('the method as it was sent, when Envoy logs it: its number knows nine', async (t) => {
  const logged = http(ALLOWED, { responseCode: 200 })
  if (logged.protocol !== 'http' || logged.entry.request === undefined) throw new Error('not HTTP')
  logged.entry.request.requestHeaders[':method'] = 'QUERY'
  t.equal(fromAccessLogEntry(logged, context())?.request.method, 'QUERY')
})

t.test('an allow of the tree, when the sidecar was not asked', async (t) => {
  t.same(fromAccessLogEntry(http(ALLOWED, { responseCode: 200 }), context()), {
    request: {
      decisionId: 'id-1',
      requestedBy: '127.0.0.9:4000',
      source: 'spiffe://mesh.local/ns/shop/sa/web',
      method: 'GET',
      path: '/items?x=1',
      host: 'orders:8080',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    },
    timeNs: 1_795_507_200_000_000_001n,
    revision: 'r1',
    metrics: {},
    lane: 'rbac',
    verdict: {
      allowed: true,
      policy: 'shop/web',
      rule: 'shop/web/rules[0]',
      reason: 'matched',
      result: true,
      shadow: [],
      failedOpen: [],
      httpStatus: 200,
    },
  })
})

t.test('two slots say it too', async (t) => {
  t.same(
    fromAccessLogEntry(http(ALLOWED_BEFORE, { responseCode: 200 }), context()),
    fromAccessLogEntry(http(ALLOWED, { responseCode: 200 }), context()),
  )
})

t.test(
  'in a mixed set the shadow tree names the rule that let the sidecar be skipped',
  async (t) => {
    const said = {
      enf_enforced_engine_result: 'allowed',
      enf_enforced_effective_policy_id: 'pass',
      low_shadow_engine_result: 'allowed',
      low_shadow_effective_policy_id: 'shop/web/rules[0]',
    }
    t.match(fromAccessLogEntry(http(said, { responseCode: 404 }), context()), {
      verdict: { allowed: true, rule: 'shop/web/rules[0]', httpStatus: 404 },
    })
  },
)

const denials: readonly [string, string, JsonObject][] = [
  [
    'a DENY rule',
    'shop/no/rules[2]',
    { policy: 'shop/no', rule: 'shop/no/rules[2]', reason: 'matched' },
  ],
  ['a guard', 'guard/path', { policy: 'guard/path', reason: 'matched' }],
  ['a required policy', 'shop/web', { policy: 'shop/web', reason: 'not-matched' }],
  ['no match', 'default', { policy: 'default', reason: 'not-matched' }],
  ['nothing named', 'none', { policy: 'default', reason: 'not-matched' }],
]
for (const [name, id, want] of denials)
  t.test(`a denial by ${name} says so`, async (t) => {
    const details = `rbac_access_denied_matched_policy[${id}]`
    const named = id === 'none' ? {} : { enf_enforced_effective_policy_id: id }
    const said = {
      ...named,
      enf_enforced_engine_result: 'denied',
      low_shadow_engine_result: 'allowed',
      low_shadow_effective_policy_id: 'decided',
    }
    const response = { responseCode: 403, responseCodeDetails: details }
    for (const metadata of [said, {}]) {
      const facts = fromAccessLogEntry(http(metadata, response), context())
      t.match(facts, { lane: 'rbac', verdict: { allowed: false, httpStatus: 403, ...want } })
    }
  })

t.test('without ALLOW policies the default action is the reason', async (t) => {
  const denied = {
    responseCode: 403,
    responseCodeDetails: 'rbac_access_denied_matched_policy[default]',
  }
  t.match(fromAccessLogEntry(http({}, denied), context([])), {
    verdict: { policy: 'default', reason: 'default-deny' },
  })
  const said = { ...ALLOWED, enf_enforced_effective_policy_id: 'default' }
  t.match(fromAccessLogEntry(http(said, { responseCode: 200 }), context([])), {
    verdict: { policy: 'default', reason: 'default-allow' },
  })
  t.match(fromAccessLogEntry(http({}, denied), { ...context(), set: undefined }), {
    verdict: { reason: 'default-deny' },
  })
})

t.test('what the sidecar answered is not recorded twice', async (t) => {
  const asked = {
    enf_enforced_engine_result: 'allowed',
    enf_enforced_effective_policy_id: 'pass',
    low_shadow_engine_result: 'denied',
    low_shadow_effective_policy_id: 'call',
  }
  for (const responseCodeDetails of ['via_upstream', 'ext_authz_denied'])
    t.equal(fromAccessLogEntry(http(asked, { responseCodeDetails }), context()), undefined)
})

t.test('a sidecar that gave no answer is recorded as a refusal', async (t) => {
  const facts = fromAccessLogEntry(
    http({}, { responseCode: 503, responseCodeDetails: 'ext_authz_error' }),
    context(),
  )
  t.match(facts, {
    lane: 'wasm',
    verdict: { allowed: false, reason: 'ERR_POLICY_ERROR', httpStatus: 503 },
  })
  const whyNoAnswer = () => 'shop/slow'
  const known = fromAccessLogEntry(
    http({}, { responseCode: 503, responseCodeDetails: 'ext_authz_error' }),
    { ...context(), whyNoAnswer },
  )
  t.match(known?.verdict, { allowed: false, policy: 'shop/slow', reason: 'ERR_POLICY_TIMEOUT' })
  t.match(known?.verdict.error?.message, /shop\/slow took too long for another call/)
})

t.test('an entry without any decision is none', async (t) => {
  t.equal(
    fromAccessLogEntry(http({}, { responseCodeDetails: 'route_not_found' }), context()),
    undefined,
  )
  t.equal(
    fromAccessLogEntry(
      { logName: 'postern', protocol: 'http', entry: fromJson(HTTPAccessLogEntrySchema, {}) },
      context(),
    ),
    undefined,
  )
  const start = http(ALLOWED, {}, { accessLogType: 'DownstreamStart' })
  t.equal(fromAccessLogEntry(start, context()), undefined, 'only the end of a request is counted')
})

t.test('several identities are shown as they are, a missing id is made', async (t) => {
  const entry = fromJson(HTTPAccessLogEntrySchema, {
    commonProperties: {
      metadata: { filterMetadata: { 'envoy.filters.http.rbac': ALLOWED } },
      tlsProperties: {
        peerCertificateProperties: { subjectAltName: [{ uri: 'a' }, { dns: 'b' }, { uri: 'c' }] },
      },
    },
  })
  const facts = fromAccessLogEntry({ logName: 'postern', protocol: 'http', entry }, context())
  t.same(facts?.request, { decisionId: 'new-id', requestedBy: '', source: 'a,c' })
  t.equal(facts?.timeNs, 7n)
})

function tcp(more: JsonObject): Parameters<typeof fromAccessLogEntry>[0] {
  return {
    logName: 'postern',
    protocol: 'tcp',
    entry: fromJson(TCPAccessLogEntrySchema, { commonProperties: common(more) } as JsonValue, {
      registry: createRegistry(StringValueSchema),
    }),
  }
}

t.test('a TCP connection: the set tells who allowed, and what AUDIT would record', async (t) => {
  const audit = makePolicy({ name: 'audit', action: 'AUDIT', rules: anyone })
  const shadow = makePolicy({ name: 'shadow', action: 'DENY', mode: 'Shadow', rules: anyone })
  const facts = fromAccessLogEntry(tcp({ streamId: 's-1' }), context([shadow, audit, ALLOW]))
  t.match(facts, {
    lane: 'rbac',
    request: { decisionId: 's-1', source: 'spiffe://mesh.local/ns/shop/sa/web' },
    verdict: {
      allowed: true,
      policy: 'shop/web',
      rule: 'shop/web/rules[0]',
      shadow: ['shop/shadow', 'shop/audit'],
    },
  })
})

t.test('a TCP connection that RBAC refused', async (t) => {
  const denied = {
    connectionTerminationDetails: 'rbac_access_denied_matched_policy[shop/no/rules[0]]',
  }
  t.match(fromAccessLogEntry(tcp(denied), context()), {
    request: { decisionId: 'new-id' },
    verdict: { allowed: false, policy: 'shop/no', rule: 'shop/no/rules[0]' },
  })
  t.equal(fromAccessLogEntry(tcp({ accessLogType: 'TcpPeriodic' }), context()), undefined)
})

t.test('a connection that was decided behind a server-first port', async (t) => {
  const text = (value: string) => ({
    '@type': 'type.googleapis.com/google.protobuf.StringValue',
    value,
  })
  const behind = {
    downstreamDirectRemoteAddress: {
      envoyInternalAddress: { serverListenerName: 'internal_client_address' },
    },
    downstreamLocalAddress: { envoyInternalAddress: { serverListenerName: 'decide/8080/tls' } },
    tlsProperties: null,
    filterStateObjects: {
      'postern.peer.uri_san': text('spiffe://mesh.local/ns/shop/sa/web'),
      'postern.peer.address': text('127.0.0.9'),
      'postern.peer.socket': text('127.0.0.9:4000'),
      'postern.inbound.port': text('8080'),
    },
  }
  t.match(fromAccessLogEntry(tcp({ streamId: 's-1', ...behind }), context()), {
    request: { requestedBy: '127.0.0.9:4000', source: 'spiffe://mesh.local/ns/shop/sa/web' },
    verdict: { allowed: true, policy: 'shop/web', rule: 'shop/web/rules[0]' },
  })
  const { 'postern.peer.uri_san': _, ...plaintext } = behind.filterStateObjects
  const entry = tcp({ ...behind, filterStateObjects: plaintext })
  t.equal(fromAccessLogEntry(entry, context())?.request.source, undefined)
})
