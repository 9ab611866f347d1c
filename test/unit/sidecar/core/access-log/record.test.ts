import { create } from '@bufbuild/protobuf'
import t from 'tap'
import {
  AccessLogType,
  HTTPAccessLogEntry_HTTPVersion,
  HTTPAccessLogEntrySchema,
  TCPAccessLogEntrySchema,
} from '../../../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import { toAccessRecord } from '../../../../../sidecar/core/access-log/record.ts'
import type { DecisionFacts } from '../../../../../sidecar/core/decision-log/record.ts'
import { LABELS } from '../../../../kit/check.ts'

function http(logName: string, details = 'via_upstream', over: object = {}) {
  const entry = create(HTTPAccessLogEntrySchema, {
    protocolVersion: HTTPAccessLogEntry_HTTPVersion.HTTP2,
    commonProperties: {
      accessLogType: AccessLogType.DownstreamEnd,
      startTime: { seconds: 1n, nanos: 5 },
      duration: { seconds: 1n, nanos: 2_500_000 },
      customTags: { trace_id: 'a'.repeat(32), span_id: '-', response_flags: 'UF,URX' },
      upstreamRequestAttemptCount: 3,
      metadata: {
        filterMetadata: { 'envoy.filters.http.ext_authz': { postern: { policy: 'shop/p' } } },
      },
    },
    request: {
      path: '/p?token=s3cr3t',
      authority: 'orders',
      requestHeaders: { ':method': 'QUERY' },
    },
    response: { responseCode: 200, responseCodeDetails: details, responseBodyBytes: 7n },
    ...over,
  })
  return { logName, protocol: 'http' as const, entry }
}

t.test('a request: who, what, what came of it, without credentials', async (t) => {
  const record = toAccessRecord(http('postern/all'), undefined, LABELS)
  t.match(record, {
    timestamp: '1970-01-01T00:00:01.000000005Z',
    direction: 'inbound',
    protocol: 'HTTP/2',
    method: 'QUERY',
    path: '/p?token=[masked]',
    status: 200,
    decision: { lane: 'wasm', policy: 'shop/p' },
    response_flags: ['UF', 'URX'],
    trace_id: 'a'.repeat(32),
    bytes_sent: 7,
    duration_ms: 1002.5,
    attempts: 3,
  })
  t.notOk('span_id' in (record ?? {}), 'Envoy’s - is nothing')
})

t.test('the mode decides, and outbound is written under its own name only', async (t) => {
  const written = (...args: Parameters<typeof http>) =>
    toAccessRecord(http(...args), undefined, LABELS) !== undefined
  t.notOk(written('postern'))
  t.notOk(written('postern', 'ext_authz_denied'))
  t.notOk(written('postern/denied'))
  t.ok(written('postern/denied', 'ext_authz_denied'))
  t.ok(written('postern/denied', 'rbac_access_denied_matched_policy[none]'))
  t.notOk(written('something/else', 'ext_authz_denied'))
  t.match(toAccessRecord(http('postern/outbound'), undefined, LABELS), { direction: 'outbound' })
})

t.test('a connection: denied by what was decided, or ended by Envoy', async (t) => {
  const tcp = (connectionTerminationDetails: string) => ({
    logName: 'postern/denied',
    protocol: 'tcp' as const,
    entry: create(TCPAccessLogEntrySchema, {
      commonProperties: {
        accessLogType: AccessLogType.TcpConnectionEnd,
        connectionTerminationDetails,
      },
      connectionProperties: { receivedBytes: 3n, sentBytes: 0n },
    }),
  })
  const facts = {
    lane: 'rbac',
    verdict: { allowed: false, policy: 'default', reason: 'default-deny' },
  } as unknown as DecisionFacts
  t.match(toAccessRecord(tcp('rbac_denied'), facts, LABELS), {
    protocol: 'TCP',
    decision: { result: 'deny', policy: 'default' },
    termination: 'rbac_denied',
    bytes_received: 3,
  })
  t.equal(toAccessRecord(tcp(''), undefined, LABELS), undefined)
})
