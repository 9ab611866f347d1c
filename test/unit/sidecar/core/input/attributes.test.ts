import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import t from 'tap'
import { CheckRequestSchema } from '../../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import {
  toRawAttributes,
  toRequestAttributes,
  toRequestSummary,
} from '../../../../../sidecar/core/input/attributes.ts'
import { makeAttributes } from '../../../../kit/check.ts'

function request(attributes: JsonValue) {
  return fromJson(CheckRequestSchema, { attributes })
}

const newId = () => 'new-id'
const EMPTY = fromJson(CheckRequestSchema, {})

t.test('a request of a workload', async (t) => {
  const headers = { a: 'b', 'x-postern-decision-id': 'd0000000-0000-4000-8000-000000000001' }
  const asked = request(makeAttributes({ method: 'PUT', path: '/x?y', host: 'h:1', headers }))
  t.same(toRequestAttributes(asked), {
    protocol: 'http',
    principal: 'spiffe://mesh.local/ns/shop/sa/web',
    sourceAddress: '127.0.0.1',
    destinationPort: 8080,
    method: 'PUT',
    path: '/x?y',
    host: 'h:1',
    headers,
  })
  t.same(toRawAttributes(asked), {
    protocol: 'http',
    method: 'PUT',
    path: '/x?y',
    host: 'h:1',
    peer: 'spiffe://mesh.local/ns/shop/sa/web',
  })
  t.same(toRequestSummary(asked, newId), {
    decisionId: headers['x-postern-decision-id'],
    requestedBy: '127.0.0.1:40000',
    source: 'spiffe://mesh.local/ns/shop/sa/web',
    method: 'PUT',
    path: '/x?y',
    host: 'h:1',
  })
})

t.test('a name that is no SPIFFE id is no principal, but the guards see it', async (t) => {
  for (const name of ['web.shop.svc', 'CN=web', 'http://spiffe://', '']) {
    const asked = request(makeAttributes({}, name))
    t.equal(toRequestAttributes(asked).principal, undefined)
    t.equal(toRawAttributes(asked).peer, name)
  }
})

t.test('what is not there is absent', async (t) => {
  t.same(toRequestAttributes(EMPTY), {
    protocol: 'http',
    principal: undefined,
    sourceAddress: undefined,
    destinationPort: 0,
  })
  t.same(toRawAttributes(EMPTY), {
    protocol: 'http',
    path: undefined,
    host: undefined,
    peer: undefined,
  })
  t.same(toRequestSummary(EMPTY, newId), { decisionId: 'new-id', requestedBy: '' })
  const pipe = request({ source: { address: { pipe: { path: '@x' } } } })
  t.equal(toRequestAttributes(pipe).sourceAddress, undefined)
  const unnamed = request({
    destination: { address: { socketAddress: { address: 'a', namedPort: 'x' } } },
  })
  t.equal(toRequestAttributes(unnamed).destinationPort, 0)
})

t.test('an id of another form is not taken', async (t) => {
  for (const id of [
    '',
    'short',
    'a'.repeat(65),
    'with blank in it',
    '"quoted-id"',
    'line\nbreak-xxxx',
  ]) {
    const asked = request(makeAttributes({ headers: { 'x-postern-decision-id': id } }))
    t.equal(toRequestSummary(asked, newId).decisionId, 'new-id')
  }
})

t.test('the trace context is kept', async (t) => {
  const asked = request(makeAttributes({ headers: { traceparent: '00-a-b-01' } }))
  t.equal(toRequestSummary(asked, newId).traceparent, '00-a-b-01')
})
