/**
 * The twelve kinds of bad manifest against the real controller: each is named with file, field and remedy by the admin
 * API, the command line and the log, and what is published stays, also after a restart with the bad manifest in place.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { formatRef, type Problem } from '../../common/errors.ts'
import { KINDS } from '../../controller/core/crd/index.ts'
import { type ControllerProcess, startController } from '../kit/controller.ts'
import { tempDir } from '../kit/tempdir.ts'

const API = 'apiVersion: postern.dev/v1alpha1\n'
const MESH = `${API}kind: Mesh\nmetadata: { name: mesh }\nspec: { trustDomain: shop.example }\n`
const AUTHORITY = `${API}kind: CertificateAuthority\nmetadata: { name: postern }\nspec: { selfSigned: {} }\n`
const ENTRY = `${API}kind: WorkloadEntry
metadata: { name: orders, namespace: shop }
spec:
  serviceAccount: orders
  inbound: [{ name: http, port: 18080, appPort: 18081 }]
`
const policy = (spec: string, name = 'orders', kind = 'AuthorizationPolicy') => `${API}kind: ${kind}
metadata: { name: ${name}, namespace: shop }
spec:
${spec.replace(/^/gm, '  ')}
`
const rule = (source: string) => `rules: [{ from: [{ source: ${source} }] }]`
const REGO = (body: string) => `rego:\n  module: |\n    package envoy.authz\n    ${body}`
const GOOD = policy(rule('{ principals: ["spiffe://shop.example/ns/shop/sa/web"] }'))
const GOOD_REGO = policy(REGO('allow if input.parsed_path[0] == "orders"'), 'rego')

interface Case {
  readonly name: string
  /** File → its bad text; undefined: deleted. */
  readonly files: Readonly<Record<string, string | undefined>>
  readonly code: string
  readonly field: string
  /** `Kind/namespace/name` of the object whose status says so. Absent: the object can't be told. */
  readonly object?: string
  /** What the message or the remedy must contain. */
  readonly says: RegExp
  /** Line of the mistake in its file. */
  readonly line?: number
}

const ORDERS = 'AuthorizationPolicy/shop/orders'
const CASES: readonly Case[] = [
  {
    name: 'not YAML',
    files: { 'orders.yaml': `${GOOD}  - [` },
    code: 'ERR_MANIFEST_NOT_YAML',
    field: '',
    says: /correct the YAML/,
  },
  {
    name: 'unknown kind',
    files: { 'orders.yaml': GOOD.replace('AuthorizationPolicy', 'AuthorizationPolice') },
    code: 'ERR_OBJECT_UNKNOWN_KIND',
    field: 'kind',
    says: /kind: AuthorizationPolicy/,
  },
  {
    name: 'unknown field',
    files: { 'orders.yaml': policy('rulez: []') },
    code: 'ERR_FIELD_UNKNOWN',
    field: 'spec.rulez',
    object: ORDERS,
    says: /rules/,
    line: 5,
  },
  {
    name: 'wrong type',
    files: { 'orders.yaml': policy('rules: 7') },
    code: 'ERR_FIELD_TYPE',
    field: 'spec.rules',
    object: ORDERS,
    says: /list|array/,
  },
  {
    name: 'bad CIDR',
    files: { 'orders.yaml': policy(rule('{ ipBlocks: ["10.0.0.0/33"] }')) },
    code: 'ERR_CIDR',
    field: 'spec.rules[0].from[0].source.ipBlocks[0]',
    object: ORDERS,
    says: /10\.0\.0\.0\/33|prefix/,
  },
  {
    name: 'bad SPIFFE id',
    files: {
      'orders.yaml': policy(rule('{ principals: ["spiffe://Shop.example/ns/shop/sa/web"] }')),
    },
    code: 'ERR_SPIFFE_ID',
    field: 'spec.rules[0].from[0].source.principals[0]',
    object: ORDERS,
    says: /lower|trust domain/i,
  },
  {
    name: 'two objects of one name',
    files: { 'more.yaml': policy('action: DENY\nrules: [{}]') },
    code: 'ERR_OBJECT_DUPLICATE',
    field: 'metadata.name',
    object: ORDERS,
    says: /orders\.yaml.*more\.yaml|more\.yaml.*orders\.yaml/s,
  },
  {
    name: 'CEL violated',
    files: { 'orders.yaml': policy('action: DENY\nrequired: true') },
    code: 'ERR_RULE_VIOLATED',
    field: 'spec.required',
    object: ORDERS,
    says: /action ALLOW/,
  },
  {
    name: 'Rego that does not parse',
    files: { 'rego.yaml': policy(REGO('allow if input.parsed_path[0] = = "x"'), 'rego') },
    code: 'ERR_REGO_PARSE',
    field: 'spec.rego.module',
    object: 'AuthorizationPolicy/shop/rego',
    says: /line \d+, column \d+/,
    line: 8,
  },
  {
    name: 'Rego that lacks the entrypoint',
    files: { 'rego.yaml': policy(REGO('allowed := true'), 'rego') },
    code: 'ERR_REGO_ENTRYPOINT',
    field: 'spec.rego.entrypoint',
    object: 'AuthorizationPolicy/shop/rego',
    says: /envoy\/authz\/allow.*envoy\/authz\/allowed/s,
  },
  {
    name: 'a reference to nothing',
    files: { 'orders.yaml': policy('targetRefs: [{ kind: Service, name: nowhere }]') },
    code: 'ERR_TARGET_SELECTS_NOTHING',
    field: 'spec.targetRefs[0]',
    object: ORDERS,
    says: /nowhere/,
  },
  {
    name: 'a deleted CertificateAuthority',
    files: { 'ca.yaml': undefined },
    code: 'ERR_CA_DELETED',
    field: '',
    object: 'CertificateAuthority/postern',
    says: /put it back/,
  },
]

const FILES: Readonly<Record<string, string>> = {
  'mesh.yaml': MESH,
  'ca.yaml': AUTHORITY,
  'entry.yaml': ENTRY,
  'orders.yaml': GOOD,
  'rego.yaml': GOOD_REGO,
}

function write(folder: string, files: Readonly<Record<string, string | undefined>>): void {
  for (const [name, text] of Object.entries(files)) {
    if (text === undefined) rmSync(join(folder, name), { force: true })
    else writeFileSync(join(folder, name), text)
  }
}

/** Path of an object in the admin API. */
function pathOf(ref: string): string {
  const [kind, ...rest] = ref.split('/')
  const plural = KINDS.find((k) => k.kind === kind)?.plural
  return rest.length === 1 ? `${plural}/${rest[0]}` : `namespaces/${rest[0]}/${plural}/${rest[1]}`
}

async function found(controller: ControllerProcess, bad: Case): Promise<Problem> {
  return await controller.process.waitFor(
    async () =>
      (await controller.problems()).find((p) => p.code === bad.code && p.field === bad.field),
    { what: `the problem ${bad.code} ${bad.field}` },
  )
}

async function checkNamed(t: Test, controller: ControllerProcess, bad: Case): Promise<void> {
  const problem = await found(controller, bad)
  const file = Object.keys(bad.files)[0] ?? ''
  const files = (await controller.problems()).map((p) => p.source?.file)
  t.ok(files.includes(file), `the file ${file} is named`)
  t.match(`${problem.message}; ${problem.remedy}`, bad.says)
  t.not(problem.remedy, '')
  if (bad.line !== undefined) t.equal(problem.source?.line, bad.line, 'the line is named')
  // Its output takes another way than the admin socket's answers.
  const log = await controller.process.waitFor(
    () => controller.logged('problem in the manifests').find((r) => r.code === bad.code),
    { what: 'the log to say it' },
  )
  t.match(log, { code: bad.code, field: bad.field, remedy: String }, 'the log says it')
  if (bad.object === undefined) return
  t.equal(problem.object && formatRef(problem.object), bad.object)
  await checkStatus(t, controller, { bad, object: bad.object, file })
}

async function checkStatus(
  t: Test,
  controller: ControllerProcess,
  { bad, object: ref, file }: { bad: Case; object: string; file: string },
): Promise<void> {
  const object = await controller.object(pathOf(ref))
  const accepted = object?.status?.conditions?.find((c) => c.type === 'Accepted')
  t.match(accepted, { status: 'False', reason: bad.code }, 'Accepted=False')
  t.match(accepted?.message, bad.says)
  t.match(accepted?.message, /stays in force/)
  t.ok(accepted?.message.includes(file), 'status names the file')
}

async function checkCommandLine(t: Test, controller: ControllerProcess, bad: Case): Promise<void> {
  const file = Object.keys(bad.files)[0] ?? ''
  const listed = await controller.postern('get', 'problems')
  t.ok(listed.includes(file) && listed.includes(bad.code), '`postern get problems` shows it')
  if (bad.object === undefined) return
  const [kind = '', ...rest] = bad.object.split('/')
  const described = await controller.postern('describe', kind, rest.at(-1) ?? '', '-n', 'shop')
  t.match(described, bad.says, '`postern describe` says it')
  t.match(described, /Accepted +False/)
}

// Some 26 controllers and 24 command lines.
t.test('twelve bad manifests', { timeout: 180_000 }, async (root) => {
  const t = root
  const folder = tempDir(t)
  const manifests = join(folder, 'm')
  const state = join(folder, 's')
  mkdirSync(manifests)
  write(manifests, FILES)
  let controller = startController(t, { manifests, state })
  await controller.meshPort()
  const { generation, workloads } = await controller.published()
  const good = { generation, workloads }
  t.equal(good.workloads.length, 1)
  t.same(await controller.problems(), [])

  const served = async () => {
    const { generation, workloads } = await controller.published()
    return { generation, workloads }
  }
  for (const bad of CASES) {
    await t.test(bad.name, async (t) => {
      write(manifests, bad.files)
      await checkNamed(t, controller, bad)
      await checkCommandLine(t, controller, bad)
      t.same(await served(), good, 'what is published stays')

      t.match(await controller.process.stop(), { code: 0, signal: null })
      controller = startController(root, { manifests, state })
      await controller.meshPort()
      await checkNamed(t, controller, bad)
      t.same(await served(), good, 'also after a restart')

      for (const name of Object.keys(bad.files)) write(manifests, { [name]: FILES[name] })
      await controller.process.waitFor(async () => (await controller.problems()).length === 0)
      t.same(await served(), good, 'and when it is mended')
    })
  }
})
