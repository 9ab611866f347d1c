import t from 'tap'
import { WasmModuleError, WasmPolicy } from '../../sidecar/adapters/wasm/wasm-policy.ts'
import { compileRego } from '../kit/rego.ts'

const NOW = { nowNs: 1_700_000_000_000_000_000n }
const ENTRYPOINT = 'envoy/authz/allow'

/** A policy of package envoy.authz with these rules. */
async function load(
  rules: string,
  more: { readonly data?: unknown; readonly maxMemoryBytes?: number } = {},
): Promise<(input: unknown) => unknown> {
  const wasm = await compileRego({ rego: `package envoy.authz\n${rules}` })
  const module = new WebAssembly.Module(wasm)
  const policy = new WasmPolicy({ module, entrypoint: ENTRYPOINT, data: {}, ...more })
  return (input) => policy.evaluate(JSON.stringify(input), NOW)
}

t.test('gives the value of the rule, and undefined for an undefined rule', async (t) => {
  const allow = await load('allow := {"allowed": true, "headers": {"x": input.x}} if input.x')
  t.same(allow({ x: 'é' }), { allowed: true, headers: { x: 'é' } })
  t.equal(allow({}), undefined)
})

t.test('reads its own data', async (t) => {
  const allow = await load('allow if data.users[input.user]', { data: { users: { ann: 1 } } })
  t.equal(allow({ user: 'ann' }), true)
  t.equal(allow({ user: 'bob' }), undefined)
})

t.test('answers rightly after any number of conflicts', async (t) => {
  const allow = await load('allow := true if input.a\nallow := false if input.b')
  for (let i = 0; i < 1500; i++) t.throws(() => allow({ a: true, b: true }), /conflict/)
  t.equal(allow({ a: true }), true)
  t.equal(allow({ b: true }), false)
})

t.test('keeps its data after a failure', async (t) => {
  const allow = await load('allow := data.x[_] if input.all\nallow := data.x[0] if input.first', {
    data: { x: [1, 2] },
  })
  t.throws(() => allow({ all: true }), /conflict/)
  t.equal(allow({ first: true }), 1)
})

t.test('a module with a builtin that it lacks is refused, and the builtin named', async (t) => {
  await t.rejects(
    load('allow if http.send({"method": "GET", "url": input.url}).status_code == 200'),
    { name: 'WasmModuleError', message: /http\.send/ },
  )
})

t.test('memory has an upper bound', async (t) => {
  const allow = await load(
    'allow if { input.much; count([x | some i in numbers.range(1, 3000); x := numbers.range(i, 3000)]) < 0 }\nallow if not input.much',
    { maxMemoryBytes: 8 * 1024 * 1024 },
  )
  t.throws(() => allow({ much: true }))
  t.equal(allow({}), true)
})

t.test('host builtins tell sets from arrays, as OPA does', async (t) => {
  const allow = await load(`
s := {"b", "a", input.name}
allow := {
	"set": sprintf("%v %v %v", [s, set(), [{1, 2.5}]]),
	"keys": sprintf("%v", [{1: "x", "a": input.n}]),
	"query": urlquery.encode_object({"q": s}),
	"prefix": strings.any_suffix_match("abc", {"x", "bc"}),
	"notArray": sprintf_of(s),
	"odd": date_of(s),
}
sprintf_of(x) := "text" if sprintf("%v", x)
else := "undefined"
date_of(x) := "date" if time.date(x)
else := "undefined"`)
  t.same(allow({ name: 'é', n: 1 }), {
    set: '{"a", "b", "é"} set() [{1, 2.5}]',
    keys: '{1: "x", "a": 1}',
    query: 'q=a&q=b&q=%C3%A9',
    prefix: true,
    notArray: 'undefined',
    odd: 'undefined',
  })
})

t.test('a text that would not be exactly OPA’s is an error', async (t) => {
  const allow = await load('allow if sprintf("%v", [input.x]) == "1"')
  t.equal(allow({ x: 1 }), true)
  const odd = await load('allow if sprintf("%v", [json.unmarshal(input.x)]) == "1"')
  t.throws(() => odd({ x: '1.0' }), /not supported/)
})

t.test('host builtins see values and give values', async (t) => {
  const allow = await load(`
allow := [
	time.now_ns(),
	io.jwt.decode(input.token)[1].n,
	sprintf("%v %d", [input.name, 3]),
	base64url.encode_no_pad(input.name),
	strings.any_prefix_match("abc", {"x", "ab"}),
]`)
  const token = `e30.${Buffer.from('{"n":9007199254740993}').toString('base64url')}.`
  const answer = allow({ token, name: 'é' })
  t.same((answer as unknown[]).slice(2), ['é 3', 'w6k', true])
  t.equal((answer as number[])[0], 1_700_000_000_000_000_000)
})

t.test('a builtin that fails is undefined, not an error', async (t) => {
  const allow = await load('allow if not io.jwt.decode(input.token)')
  t.equal(allow({ token: 'hello' }), true)
})

t.test('numbers keep all their digits', async (t) => {
  const wasm = await compileRego({
    rego: 'package envoy.authz\nallow if input.n == 9007199254740993',
  })
  const policy = new WasmPolicy({
    module: new WebAssembly.Module(wasm),
    entrypoint: ENTRYPOINT,
    data: {},
  })
  t.equal(policy.evaluate('{"n":9007199254740993}', NOW), true)
  t.equal(policy.evaluate('{"n":9007199254740992}', NOW), undefined)
})

t.test('an input that the module cannot parse is an error, never no input', async (t) => {
  const wasm = await compileRego({ rego: 'package envoy.authz\nallow if not input.blocked' })
  const policy = new WasmPolicy({
    module: new WebAssembly.Module(wasm),
    entrypoint: ENTRYPOINT,
    data: {},
  })
  t.throws(() => policy.evaluate('{"blocked":', NOW), /parse/)
  t.throws(() => policy.evaluate('', NOW), /parse/)
  t.equal(policy.evaluate('{}', NOW), true)
})

t.test('an entrypoint that is not there is refused at load', async (t) => {
  const wasm = await compileRego({ rego: 'package envoy.authz\nallow := true' })
  const module = new WebAssembly.Module(wasm)
  t.throws(() => new WasmPolicy({ module, entrypoint: 'a/b', data: {} }), WasmModuleError)
  t.throws(() => new WasmPolicy({ module, entrypoint: 'toString', data: {} }), WasmModuleError)
})

t.test('two policies of one package do not meet', async (t) => {
  const first = await load('allow if input.user == "ann"\nhelper := 1')
  const second = await load('allow if input.user == "bob"\nhelper := 2')
  t.equal(first({ user: 'ann' }), true)
  t.equal(first({ user: 'bob' }), undefined)
  t.equal(second({ user: 'bob' }), true)
  t.equal(second({ user: 'ann' }), undefined)
})

t.test('the deepest body that is taken can be evaluated', async (t) => {
  const allow = await load('allow if input.body')
  const nested: unknown = JSON.parse(`${'['.repeat(1000)}${']'.repeat(1000)}`)
  t.equal(allow({ body: nested }), true)
})

t.test('memory that one request needed is given back', async (t) => {
  const wasm = await compileRego({
    rego: 'package envoy.authz\nallow if count(numbers.range(1, input.n)) > 0',
  })
  const policy = new WasmPolicy({
    module: new WebAssembly.Module(wasm),
    entrypoint: ENTRYPOINT,
    data: {},
  })
  t.equal(policy.evaluate('{"n":10}', NOW), true)
  const usual = policy.memoryBytes
  t.equal(policy.evaluate('{"n":150000}', NOW), true)
  t.equal(policy.memoryBytes, usual)
  t.equal(policy.evaluate('{"n":10}', NOW), true)
})
