/**
 * A folder of manifests → what is wrong with it, and what is hardly meant, without a controller. The controller's own
 * reading finds the errors; the table of checks the rest. Rego is not compiled here. Pure: same files, same findings.
 */
import { formatRef, type Problem } from '../../../common/errors.ts'
import { type Candidate, isKind, keyOf, NOTHING_ACCEPTED, type Reading } from '../accept/objects.ts'
import { propose } from '../accept/propose.ts'
import { type File, readManifests } from '../accept/reading.ts'
import { type CompileState, settle } from '../accept/settle.ts'
import type { Model, Workload } from '../model/mesh.ts'
import type { Unit } from '../rego/unit.ts'
import { attach } from '../translate/attachment.ts'
import { translateAuthorizationPolicy } from '../translate/authorization-policy.ts'
import type { ClusterFacts } from '../translate/cluster.ts'
import { keyOfFinding, runChecks } from './checks.ts'
import type { Estate, LintFinding, PolicySubject } from './finding.ts'

/** Stands in for a Mesh and its authority when the files have none: policies are often kept apart. */
const STAND_IN = '(none)'
const MESH = `apiVersion: postern.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: cluster.local }
`
const AUTHORITY = `apiVersion: postern.dev/v1alpha1
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`
const MESH_KINDS: readonly string[] = ['Mesh', 'CertificateAuthority']
const WITHOUT_DIGEST = { wasmDigest: '', readsBody: false, rules: [] }
const SEVERITIES = ['error', 'warning', 'info']

/** What is known beside the files. */
export interface World {
  /** Pods and Services; absent: workloads are what WorkloadEntries say. */
  readonly cluster?: ClusterFacts
  /** What became of a policy's Rego. Absent: it is not asked. */
  readonly compiled?: (unit: Unit) => CompileState
}

/** Sorted by severity, then file, line, object, field and code. */
export function analyze(given: readonly File[], world: World = {}): readonly LintFinding[] {
  const { candidates, hasMesh, problems, model } = read(given, world)
  const isPartial =
    world.cluster === undefined && !candidates.some((c) => isKind(c.object, 'WorkloadEntry'))
  const errors = problems
    .filter(
      (p) => p.source?.file.startsWith(STAND_IN) !== true && !(isPartial && needsWorkloads(p)),
    )
    .map(toFinding)
  const linted = model === undefined ? [] : runChecks(toEstate(candidates, model, hasMesh))
  const byKey = new Map(candidates.map((c) => [keyOf(c.object), c]))
  const all = [...errors, ...linted.map((f) => located(f, byKey))]
  return [...new Map(all.map((f) => [`${keyOfFinding(f)}\0${f.message}`, f])).values()].sort(
    inOrder,
  )
}

function read(given: readonly File[], world: World) {
  const reading = readManifests(given, NOTHING_ACCEPTED)
  const has = (kind: 'Mesh' | 'CertificateAuthority') =>
    reading.candidates.some((c) => isKind(c.object, kind))
  const standIns = [
    ...(has('Mesh') ? [] : [MESH]),
    ...(has('CertificateAuthority') || has('Mesh') ? [] : [AUTHORITY]),
  ]
  const first = judge(reading, standIns, world)
  const { candidates } = reading
  if (first.model !== undefined) return { ...first, candidates, hasMesh: has('Mesh') }
  // What is wrong with the Mesh is said; the rest is judged as if there were a right one.
  const second = judge(withoutMesh(reading), [MESH, AUTHORITY], world)
  const problems = [...first.problems.filter(isOfMesh), ...second.problems]
  return { problems, model: second.model, candidates, hasMesh: false }
}

function withoutMesh(reading: Reading): Reading {
  return {
    candidates: reading.candidates.filter((c) => !MESH_KINDS.includes(c.object.kind)),
    problems: reading.problems.filter((p) => !isOfMesh(p)),
  }
}

function isOfMesh({ object }: Problem): boolean {
  return object !== undefined && MESH_KINDS.includes(object.kind)
}

/** Added as objects, not as files: a wrong one of theirs would make it a second one. */
function judge(reading: Reading, standIns: readonly string[], world: World) {
  const added = standIns.flatMap((text, i) => {
    const files = [{ path: `${STAND_IN}-${i}`, text }]
    return readManifests(files, NOTHING_ACCEPTED).candidates
  })
  let uids = 0
  const newUid = () => `uid-${uids++}`
  const whole = { ...reading, candidates: [...reading.candidates, ...added] }
  const proposals = propose(whole, NOTHING_ACCEPTED, { now: '2000-01-01T00:00:00Z', newUid })
  const { compiled = () => ({ kind: 'ready', ...WITHOUT_DIGEST }), cluster } = world
  const settlement = settle(proposals.proposals, compiled, cluster)
  const problems = [...proposals.problems, ...settlement.problems]
  return { problems, model: settlement.model }
}

/** Files without any WorkloadEntry don't say what there is. */
function needsWorkloads({ code }: Problem): boolean {
  return code === 'ERR_TARGET_SELECTS_NOTHING' || code === 'ERR_REFERENCE_NOT_FOUND'
}

function toFinding({ code, object, field, message, remedy, source }: Problem): LintFinding {
  return {
    ...{ code, severity: 'error', field, message, remedy },
    ...(object === undefined ? {} : { object }),
    ...(source === undefined ? {} : { source }),
  }
}

function located(finding: LintFinding, byKey: ReadonlyMap<string, Candidate>): LintFinding {
  const candidate = finding.object && byKey.get(formatRef(finding.object))
  return candidate === undefined ? finding : { ...finding, source: candidate.locate(finding.field) }
}

function toEstate(candidates: readonly Candidate[], model: Model, hasMesh: boolean): Estate {
  const workloads = [...model.workloads.values()]
  const objects = candidates.map((c) => c.object)
  const policies = objects.flatMap((object) =>
    isKind(object, 'AuthorizationPolicy') ? toSubject(object, model, workloads) : [],
  )
  const rules = policies.flatMap((subject) =>
    (subject.policy.rules ?? []).map((rule, i) => ({ subject, rule, field: `spec.rules[${i}]` })),
  )
  const peers = objects.flatMap((object) => {
    if (!isKind(object, 'PeerAuthentication')) return []
    const { scope, selected } = attach(object, workloads)
    return [{ object, scope, workloads: selected }]
  })
  const libraries = objects.flatMap((o) => (isKind(o, 'PolicyLibrary') ? [o] : []))
  return { mesh: model.mesh, hasMesh, workloads, policies, rules, peers, libraries }
}

function toSubject(
  object: PolicySubject['object'],
  model: Model,
  workloads: readonly Workload[],
): readonly PolicySubject[] {
  const { rego } = object.spec
  const compiled =
    rego === undefined ? undefined : { ...WITHOUT_DIGEST, entrypoint: rego.entrypoint, data: {} }
  const { policy } = translateAuthorizationPolicy(object, { mesh: model.mesh, rego: compiled })
  if (policy === undefined) return []
  const { scope, selected } = attach(object, workloads)
  return [{ object, policy, workloads: selected, isMeshWide: scope === 'mesh' }]
}

function inOrder(a: LintFinding, b: LintFinding): number {
  const rank = (f: LintFinding) => SEVERITIES.indexOf(f.severity)
  return rank(a) - rank(b) || (placeOf(a) < placeOf(b) ? -1 : placeOf(a) > placeOf(b) ? 1 : 0)
}

function placeOf(finding: LintFinding): string {
  const { source, message } = finding
  const line = String(source?.line ?? 0).padStart(7, '0')
  return [source?.file ?? '', line, keyOfFinding(finding), message].join('\0')
}
