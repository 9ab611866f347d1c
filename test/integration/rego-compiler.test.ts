/** The Rego compiler against the real `opa`. */
import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { loadPolicy } from '@open-policy-agent/opa-wasm'
import t from 'tap'
import { OpaRegoCompiler } from '../../controller/adapters/opa/rego-compiler.ts'
import type { CompileResult, RegoUnit } from '../../controller/runtime/ports.ts'

const binary = process.env.POSTERN_OPA ?? join(import.meta.dirname, '../../.tools/opa')
const { signal } = new AbortController()

const unit = (text: string, more: Partial<RegoUnit> = {}): RegoUnit => ({
  digest: 'x',
  entrypoint: 'envoy/authz/allow',
  regoVersion: 'V1',
  modules: [{ name: 'policy.rego', text }],
  ...more,
})

function problemsOf(result: CompileResult) {
  if (result.ok) throw new Error('it compiled')
  return result.problems
}

t.test('with the real opa', async (t) => {
  const tempDir = join(t.testdir(), 'tmp')
  const compiler = new OpaRegoCompiler({ binary, tempDir })
  const compile = (u: RegoUnit) => compiler.compile(u, signal)
  const problems = async (text: string, more: Partial<RegoUnit> = {}) =>
    problemsOf(await compile(unit(text, more)))

  t.test('compiles to WASM that decides', async (t) => {
    const text = 'package envoy.authz\nallow if input.attributes.request.http.method == "GET"'
    const result = await compile(unit(text))
    if (!result.ok) throw new Error(JSON.stringify(result.problems))
    t.equal(result.wasmDigest, createHash('sha256').update(result.wasm).digest('hex'))
    t.equal(result.readsBody, false)
    const policy = await loadPolicy(Buffer.from(result.wasm))
    const input = (method: string) => ({ attributes: { request: { http: { method } } } })
    t.same(policy.evaluate(input('GET')), [{ result: true }])
    t.same(policy.evaluate(input('PUT')), [])
    const again = await compile(unit(text))
    t.equal(again.ok && again.wasmDigest, result.wasmDigest, 'same bytes each time')
  })

  t.test('a library and the body', async (t) => {
    const result = await compile(
      unit('package envoy.authz\nimport data.lib.x\nallow if x.ok', {
        modules: [
          { name: 'policy.rego', text: 'package envoy.authz\nimport data.lib.x\nallow if x.ok' },
          { name: 'Odd name!', text: 'package lib.x\nok if input.parsed_body.a' },
        ],
      }),
    )
    t.match(result, { ok: true, readsBody: true, rules: Array })
  })

  t.test('errors have file, line and column', async (t) => {
    t.match(await problems('package envoy.authz\n\nallow if {\n  foo := = 3\n}'), [
      { code: 'ERR_REGO_PARSE', source: { file: 'policy.rego', line: 4, column: 10 } },
    ])
    t.match(await problems('package envoy.authz\nallow if nope(1)'), [
      {
        code: 'ERR_REGO_COMPILE',
        message: 'undefined function nope',
        source: { file: 'policy.rego', line: 2, column: 10 },
      },
    ])
    t.match(await problems(''), [{ code: 'ERR_REGO_PARSE', message: 'empty module' }])
    const modules = [{ name: '../x.rego', text: 'package a\nb if {' }]
    t.match(await problems('', { modules }), [{ source: { file: '../x.rego' } }])
  })

  t.test('V0 under V1 is named, and compiles as V0', async (t) => {
    const text = 'package envoy.authz\nallow { input.parsed_path[0] == "a" }'
    t.match(await problems(text), [{ code: 'ERR_REGO_PARSE', remedy: /regoVersion to V0/ }])
    t.match(await compile(unit(text, { regoVersion: 'V0' })), { ok: true, readsBody: false })
  })

  t.test('a missing entrypoint is named with the rules that exist', async (t) => {
    t.match(await problems('package envoy.authz\nallowed := true'), [
      { code: 'ERR_REGO_ENTRYPOINT', message: /envoy\/authz\/allow.*envoy\/authz\/allowed/ },
    ])
    t.match(await problems('package envoy.authz\nallow(x) := x'), [{ code: 'ERR_REGO_ENTRYPOINT' }])
  })

  t.test('the network is out of reach', async (t) => {
    for (const call of ['http.send({})', 'net.lookup_ip_addr("x")', 'opa.runtime()']) {
      t.match(await problems(`package envoy.authz\nallow if ${call}`), [
        { code: 'ERR_REGO_COMPILE', remedy: /is not available in a policy/ },
      ])
    }
    t.match(await problems('package envoy.authz\nallow { http.send({}) }', { regoVersion: 'V0' }), [
      { remedy: /is not available/ },
    ])
  })

  t.test('an OPA tutorial policy, as it stands', async (t) => {
    const text = `package envoy.authz

import rego.v1

import input.attributes.request.http as http_request

default allow := false

allow if {
  is_token_valid
  action_allowed
}

is_token_valid if {
  token.valid
  now := time.now_ns() / 1000000000
  token.payload.nbf <= now
  now < token.payload.exp
}

action_allowed if {
  http_request.method == "GET"
  token.payload.role == "guest"
  glob.match("/people", ["/"], http_request.path)
}

token := {"valid": valid, "payload": payload} if {
  [_, encoded] := split(http_request.headers.authorization, " ")
  [valid, _, payload] := io.jwt.decode_verify(encoded, {"secret": "secret"})
}`
    t.match(await compile(unit(text)), { ok: true, readsBody: false })
  })

  t.test('a slow compile ends in time', async (t) => {
    const slow = new OpaRegoCompiler({ binary, tempDir: join(t.testdir(), 'tmp'), timeoutMs: 2000 })
    const rules = Array.from({ length: 60_000 }, (_, i) => `p${i} if input.x == ${i}`)
    const text = ['package envoy.authz', 'allow if p1', ...rules].join('\n')
    const result = await slow.compile(unit(text), signal)
    t.match(problemsOf(result), [{ code: 'ERR_REGO_TIMEOUT' }])
  })

  t.test('an abort ends it, and nothing stays behind', async (t) => {
    const abort = new AbortController()
    const running = [1, 2, 3].map(() => compiler.compile(unit('package x'), abort.signal))
    abort.abort()
    for (const run of running) await t.rejects(run)
    t.same((await readdir(tempDir)).sort(), ['capabilities-V0.json', 'capabilities-V1.json'])
  })

  t.test('a missing binary is the world’s fault, not the policy’s', async (t) => {
    const missing = new OpaRegoCompiler({ binary: join(homedir(), 'no-opa'), tempDir })
    await t.rejects(missing.compile(unit('package x'), signal), { code: 'ERR_TOOL_MISSING' })
  })
})
