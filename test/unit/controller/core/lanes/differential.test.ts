/**
 * The lowering against the evaluator without Envoy: many random sets and requests, by an interpreter of the matcher.
 * Fast enough for every run; the same with a real Envoy is test/integration/rbac-differential.test.ts.
 */
import t from 'tap'
import { decide } from '../../../../../common/authz/combine.ts'
import { findGuard } from '../../../../../common/authz/guards.ts'
import type { RequestAttributes } from '../../../../../common/authz/request.ts'
import type { PolicySet } from '../../../../../common/policy-set.ts'
import { buildHttpRbac, CALL, PASS } from '../../../../../controller/core/lanes/http-rbac.ts'
import { interpret } from '../../../../../controller/core/lanes/interpret.ts'
import { buildNetworkRbac } from '../../../../../controller/core/lanes/network-rbac.ts'
import type { RBAC } from '../../../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { type Random, seededRandom } from '../../../../kit/differential/random.ts'
import { randomRequest } from '../../../../kit/differential/random-request.ts'
import { randomSet } from '../../../../kit/differential/random-set.ts'

const SETS = 300
const REQUESTS = 40
const PORT = 8080

const PRINCIPALS = [
  'td/ns/a/sa/one',
  'td/ns/b/sa/one',
  'old/ns/a/sa/one',
  'far/ns/a/sa/one',
  'td/x',
]
const ADDRESSES = ['127.0.0.1', '127.0.0.2', '10.1.1.1', '::ffff:10.1.1.1', '2001:db8::1']

function attributesOf(random: Random, transport: 'tls' | 'plaintext'): RequestAttributes {
  const { method, path, host, headers } = randomRequest(random)
  const joined = new Map<string, string>()
  for (const [name, value] of headers) {
    if (/[^\x20-\x7e\t]|!/.test(value)) continue // the interpreter has no bytes
    const key = name.toLowerCase()
    const before = joined.get(key)
    joined.set(key, before === undefined ? value : `${before},${value}`)
  }
  const principal = random.chance(0.2) ? undefined : `spiffe://${random.pick(PRINCIPALS)}`
  return {
    protocol: 'http',
    principal: transport === 'tls' ? principal : undefined,
    sourceAddress: random.pick(ADDRESSES),
    destinationPort: PORT,
    method,
    path,
    ...(random.chance(0.1) ? {} : { host }),
    headers: Object.fromEntries(joined),
  }
}

/** What is wrong with what Envoy would do; `asked` when it would ask the sidecar, which is never wrong. */
function judge(set: PolicySet, rbac: RBAC, request: RequestAttributes) {
  const enforced = interpret(rbac.matcher, request)
  const shadow = rbac.shadowMatcher && interpret(rbac.shadowMatcher, request)
  if (enforced?.name === PASS && shadow?.allowed !== true) return { kind: 'asked' } as const
  const guard = findGuard({
    protocol: request.protocol,
    peer: request.principal,
    path: request.path,
    host: request.host,
    method: request.method,
  })
  const want = decide(set, request, () => ({ kind: 'undefined' }))
  const isRecorded = guard === undefined && want.shadow.length + want.audit.length > 0
  const allowed = enforced?.allowed === true
  const isRight = allowed === (guard === undefined && want.allowed) && !isRecorded
  return isRight
    ? ({ kind: allowed ? 'allowed' : 'denied' } as const)
    : ({ kind: 'wrong', set, request, enforced, shadow, want } as const)
}

t.test('HTTP: the matchers decide as the evaluator does', async (t) => {
  const random = seededRandom(11)
  const judged = Array.from({ length: SETS }, () => {
    const set = randomSet(random, { ports: [PORT] })
    const transport = random.pick(['tls', 'plaintext'] as const)
    const rbac = buildHttpRbac(set, { port: PORT, transport })
    return Array.from({ length: REQUESTS }, () => judge(set, rbac, attributesOf(random, transport)))
  }).flat()
  const wrong = judged.filter((j) => j.kind === 'wrong')
  t.same(wrong.slice(0, 2), [], `${wrong.length} differences`)
  for (const kind of ['allowed', 'denied', 'asked'] as const) {
    const count = judged.filter((j) => j.kind === kind).length
    t.ok(count > 500, `${count} ${kind}`)
  }
})

t.test('TCP: the matcher decides as the evaluator does', async (t) => {
  const random = seededRandom(12)
  const wrong: unknown[] = []
  for (let i = 0; i < SETS; i++) {
    const set = randomSet(random, { ports: [PORT] })
    const transport = random.pick(['tls', 'plaintext'] as const)
    const { matcher } = buildNetworkRbac(set, { port: PORT, transport })
    for (let n = 0; n < 8; n++) {
      const { principal, sourceAddress, destinationPort } = attributesOf(random, transport)
      const request = { protocol: 'tcp', principal, sourceAddress, destinationPort } as const
      const got = interpret(matcher, request)
      const want = decide(set, request, () => ({ kind: 'undefined' }))
      if (got?.allowed !== want.allowed) wrong.push({ set, request, got, want })
    }
  }
  t.same(wrong.slice(0, 2), [], `${wrong.length} differences`)
})

t.test('a set that is asked about everything says so', async (t) => {
  const set = randomSet(seededRandom(1), { ports: [PORT] })
  const shadowed = { ...set, defaultAction: 'DENY', defaultMode: 'Shadow', policies: [] } as const
  const { shadowMatcher } = buildHttpRbac(shadowed, { port: PORT, transport: 'tls' })
  const request = attributesOf(seededRandom(2), 'tls')
  t.same(interpret(shadowMatcher, request), { name: CALL, allowed: false })
})
