/**
 * Standalone's verdict on a manifest is the API server's: a real kube-apiserver with all of crds/ is asked about every
 * fixture and about seeded mutants, with strict field validation, and its answer compared: accepted or refused,
 * the fields it names, the defaults it sets.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { formatProblem, type Problem } from '../../common/errors.ts'
import { KINDS, parseManifests } from '../../controller/core/crd/index.ts'
import { readDocuments } from '../../controller/core/crd/yaml-document.ts'
import { type ApiBody, type ApiResponse, startApiServer } from '../kit/apiserver.ts'
import { badFixtures, goodFixtures } from '../kit/manifest-fixtures.ts'
import { mutate, seededRandom } from '../kit/manifest-mutator.ts'
import { waitFor } from '../kit/wait.ts'

type Json = Record<string, unknown>

const CRDS = join(import.meta.dirname, '..', '..', 'crds')
const MUTANTS_PER_OBJECT = 40
const SEED = 20261124

const server = await startApiServer(t)

/** Creates an object as kubectl apply would, without keeping it. */
function tryCreate(
  object: { kind?: unknown; metadata?: unknown },
  body: ApiBody,
): Promise<ApiResponse> {
  const kind = KINDS.find((k) => k.kind === object.kind)
  const namespace = (object.metadata as Json | undefined)?.namespace ?? 'default'
  const place = kind?.namespaced ? `namespaces/${namespace}/` : ''
  const path = `/apis/postern.dev/v1alpha1/${place}${kind?.plural ?? 'unknownkinds'}`
  return server.request('POST', `${path}?fieldValidation=Strict&dryRun=All`, body)
}

/** The documents of a file, as kubectl would send them. */
function bodiesOf(text: string): { object: Json; body: ApiBody }[] {
  return text.split(/^---$/m).flatMap((part): { object: Json; body: ApiBody }[] => {
    const [document] = readDocuments(part)
    if (document === undefined) return []
    const object = (document.ok ? document.value : {}) as Json
    if (object.kind === 'List') {
      return (object.items as Json[]).map((item) => ({ object: item, body: { json: item } }))
    }
    return [{ object, body: { text: part, contentType: 'application/yaml' } }]
  })
}

/** The fields that the API server complains of, as formatPath writes them. */
function fieldsOf({ body }: ApiResponse): string[] {
  const { causes = [] } = (body.details ?? {}) as { causes?: { field?: string; message: string }[] }
  const message = String(body.message)
  const named = causes
    .filter((c) => !c.message.includes('some validation rules were not checked'))
    .map((c) => (c.field === undefined || c.field === '<nil>' ? '' : c.field))
  const unknown = [...message.matchAll(/unknown field "([^"]*)"/g)].map((m) => m[1] ?? '')
  return [...named, ...unknown]
}

/** Whether one field is the other or holds it; maps' keys are written with dots or brackets. */
function isSameOrWithin(a: string, b: string): boolean {
  const parts = (path: string) => path.split(/[.[\]]+/).filter((p) => p !== '')
  const [x, y] = [parts(a), parts(b)]
  return x.slice(0, y.length).every((part, i) => part === y[i])
}

function agreesOnVerdict(answer: ApiResponse, problems: readonly Problem[]): boolean {
  return answer.status < 300 === (problems.length === 0)
}

/** The same verdict, and every field that the API server names is named by us. */
function agrees(answer: ApiResponse, problems: readonly Problem[]): boolean {
  if (!agreesOnVerdict(answer, problems)) return false
  return fieldsOf(answer).every((field) => problems.some((p) => isSameOrWithin(p.field, field)))
}

function report(answer: ApiResponse, problems: readonly Problem[]): string {
  return `\n  server ${answer.status}: ${answer.body.message ?? 'accepted'}\n  ours: ${problems.map(formatProblem).join('\n    ')}`
}

t.test('all of crds/ applies and is established', async (t) => {
  for (const file of readdirSync(CRDS).sort()) {
    const text = readFileSync(join(CRDS, file), 'utf8')
    const { name } = parse(text).metadata
    const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`
    const answer = await server.request(
      'PATCH',
      `${path}?fieldManager=test&fieldValidation=Strict`,
      {
        text,
        contentType: 'application/apply-patch+yaml',
      },
    )
    t.equal(answer.status, 201, `${file}: ${answer.body.message ?? 'applied'}`)
    await t.resolves(established(path), `${file}: established`)
  }
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }
  t.equal((await server.request('POST', '/api/v1/namespaces', { json: namespace })).status, 201)
})

/** Resolves when the CRD is served under all its names. */
function established(path: string): Promise<boolean> {
  return waitFor(async () => {
    const { body } = await server.request('GET', path)
    const { conditions } = (body.status ?? {}) as { conditions?: Json[] | null }
    const isTrue = (type: string) =>
      conditions?.some((c) => c.type === type && c.status === 'True') ?? false
    return ['Established', 'NamesAccepted'].every(isTrue)
  })
}

t.test('good manifests are accepted, with the same defaults', async (t) => {
  for (const { name, text } of goodFixtures()) {
    const { documents } = parseManifests([{ path: name, text }])
    const bodies = bodiesOf(text)
    t.equal(bodies.length, documents.length, name)
    for (const [i, { object, body }] of bodies.entries()) {
      const answer = await tryCreate(object, body)
      t.equal(answer.status, 201, `${name}: ${answer.body.message ?? 'accepted'}`)
      t.same(answer.body.spec, documents[i]?.object?.spec, `${name}: spec`)
      t.equal((answer.body.metadata as Json).namespace, documents[i]?.object?.metadata.namespace)
    }
  }
})

t.test('bad manifests are refused, for the same field', async (t) => {
  for (const { name, text, judge } of badFixtures()) {
    const { problems } = parseManifests([{ path: name, text }])
    for (const { object, body } of bodiesOf(text)) {
      const answer = await tryCreate(object, body)
      // An API server cannot see what only the folder or the model shows.
      const ours = judge === 'model' || name.startsWith('two-objects') ? [] : problems
      const same = judge === 'file' ? agreesOnVerdict : agrees
      t.ok(same(answer, ours), `${name}${report(answer, ours)}`)
    }
  }
})

t.test('mutated manifests: the same answer', async (t) => {
  const random = seededRandom(SEED)
  const counts = { accepted: 0, refused: 0 }
  const objects = goodFixtures().flatMap(({ text }) => bodiesOf(text).map(({ object }) => object))
  for (const original of objects) {
    for (let i = 0; i < MUTANTS_PER_OBJECT; i++) {
      const { object, change } = mutate(original, random)
      const text = JSON.stringify(object)
      const { problems } = parseManifests([{ path: 'mutant.json', text }])
      const answer = await tryCreate(object, { json: object })
      counts[problems.length === 0 ? 'accepted' : 'refused']++
      if (!agrees(answer, problems)) t.fail(`${change}${report(answer, problems)}\n  ${text}`)
    }
  }
  t.comment(`${counts.accepted} mutants accepted, ${counts.refused} refused`)
  t.ok(counts.accepted > 50 && counts.refused > 100)
})

t.test('the trust domain cannot be changed on either side', async (t) => {
  const mesh = (trustDomain: string) => ({
    apiVersion: 'postern.dev/v1alpha1',
    kind: 'Mesh',
    metadata: { name: 'mesh' },
    spec: { trustDomain },
  })
  const path = '/apis/postern.dev/v1alpha1/meshes'
  t.equal((await server.request('POST', path, { json: mesh('example.org') })).status, 201)
  const [first] = parseManifests([
    { path: 'a', text: JSON.stringify(mesh('example.org')) },
  ]).documents
  for (const domain of ['example.org', 'example.com']) {
    const text = JSON.stringify({ spec: { trustDomain: domain } })
    const answer = await server.request('PATCH', `${path}/mesh`, {
      text,
      contentType: 'application/merge-patch+json',
    })
    const file = { path: 'a', text: JSON.stringify(mesh(domain)) }
    const { problems } = parseManifests([file], { previous: () => first?.object })
    t.ok(agrees(answer, problems), `${domain}${report(answer, problems)}`)
    t.equal(problems.length === 0, domain === 'example.org')
  }
})
