/** `explain` with real Rego, compiled by OPA and run by the sidecar's own WASM host, in a thread that can be cut off. */
import { createHash } from 'node:crypto'
import t from 'tap'
import type { AskedRequest } from '../../cli/explain/asked.ts'
import { explain } from '../../cli/explain/explain.ts'
import { SidecarThread } from '../../sidecar/explain.ts'
import { makeVersion } from '../kit/explain.ts'
import { is, makePolicy, makeSet, operation } from '../kit/policies.ts'
import { compileRego } from '../kit/rego.ts'

const ENDLESS = `package envoy.authz
allow if {
  n := numbers.range(1, 3000)
  some a in n
  some b in n
  some c in n
  a + b + c < 0
}`
const TOKEN = `package envoy.authz
allow := {"allowed": true, "headers": {"authorization": data.token}} if input.parsed_body.amount < 10`

const asked: AskedRequest = {
  ...{ principal: 'spiffe://td/ns/a/sa/one', sourceAddress: '127.0.0.1', port: 8080 },
  ...{ transport: 'tls', method: 'POST', path: '/pay', host: 'app' },
  headers: [['content-type', 'application/json']],
}

async function makeRego(name: string, rego: string, data: unknown, path: string) {
  const wasm = await compileRego({ rego })
  const wasmDigest = createHash('sha256').update(wasm).digest('hex')
  const entrypoint = 'envoy/authz/allow'
  const rules = [{ to: [operation({ paths: is(path) })] }]
  const policy = makePolicy({
    name,
    rules,
    rego: { entrypoint, wasmDigest, data, readsBody: true },
  })
  return { policy, module: [wasmDigest, wasm] as const }
}

t.test('Rego is really asked, of a body too; what may be secret is masked', async (t) => {
  const pay = await makeRego('pay', TOKEN, { token: 'dark' }, '/pay')
  const endless = await makeRego('endless', ENDLESS, {}, '/loop')
  const version = await makeVersion(
    makeSet([pay.policy, endless.policy]),
    undefined,
    new Map([pay.module, endless.module]),
  )
  const sidecar = new SidecarThread({ policyMs: 300 })
  t.teardown(() => sidecar.close())
  const context = { ownId: 'spiffe://td/ns/ns/sa/app', nowNs: 1_000_000_000n, sidecar }
  const ask = (given: Partial<AskedRequest>) => explain(version, { ...asked, ...given }, context)

  const small = await ask({ body: Buffer.from('{"amount":5}') })
  t.match(small, { allowed: true, decidedIn: 'wasm', policy: 'ns/pay', rule: 'ns/pay/rules[0]' })
  t.match(small.policies, [
    { rego: { object: { headers: { authorization: '[masked]' } } } },
    { rego: undefined },
  ])
  t.notMatch(JSON.stringify(small), /dark/)
  t.match(await ask({ body: Buffer.from('{"amount":50}') }), {
    allowed: false,
    policy: 'default',
    policies: [{ verdict: 'no match', rego: { kind: 'undefined' } }, {}],
  })
  t.match(await ask({ body: Buffer.from('{') }), {
    allowed: false,
    httpStatus: 400,
    reason: 'ERR_INPUT_INVALID',
    policies: [{ verdict: 'error' }, {}],
  })

  t.match(
    await ask({ path: '/loop' }),
    {
      allowed: false,
      httpStatus: 503,
      policy: 'ns/endless',
      // Whichever comes first on this machine: the end of its time or of its memory.
      reason: /^ERR_POLICY_(?:TIMEOUT|ERROR)$/,
    },
    'one that never ends',
  )
  t.match(
    await ask({ body: Buffer.from('{"amount":5}') }),
    { allowed: true },
    'and the next goes on',
  )
})
