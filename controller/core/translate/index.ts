/**
 * Custom resources → the mesh as values, and what is wrong with them (STYLE §2, "decide").
 * Pure: equal objects in any order give an equal model. Every problem names the object and field that the user can
 * mend, so the caller may put that object's last good version in its place and translate again.
 * An object with a problem is used as far as it is sound, and never so that it opens something.
 * A workload of which nothing changed is the same value as before (common/remember.ts), so that nothing is made of it anew.
 */
import type { Problem } from '../../../common/errors.ts'
import { withRequires } from '../../../common/features.ts'
import type { Policy, PolicyAction, PolicySet, RegoPolicy } from '../../../common/policy-set.ts'
import { keepEqual, remember } from '../../../common/remember.ts'
import type {
  AuthorizationPolicy,
  BackendTrafficPolicy,
  CertificateAuthority,
  Mesh,
  PeerAuthentication,
  WorkloadEntry,
} from '../crd/index.ts'
import {
  type Capture,
  type MeshSettings,
  type OutboundPort,
  type Service,
  type Translation,
  type Workload,
  workloadKey,
} from '../model/mesh.ts'
import { attach } from './attachment.ts'
import { translateAuthorizationPolicy } from './authorization-policy.ts'
import { type TrafficTranslation, translateTrafficPolicies } from './backend-traffic-policy.ts'
import { translateMesh } from './mesh.ts'
import { compareAge, compareText } from './objects.ts'
import { translateOutbound, translateServices } from './outbound.ts'
import {
  type PeerAuthenticationTranslation,
  type PortSubject,
  translatePeerAuthentications,
} from './peer-authentication.ts'
import {
  CAPTURE_ADDRESS,
  CAPTURE_FIELD,
  type PortClaims,
  refusedKey,
  settlePorts,
} from './port-claims.ts'
import { translateCatalog } from './service-catalog.ts'
import { translateWorkloadEntry, type WorkloadDraft } from './workload-entry.ts'

export interface TranslationInput {
  readonly mesh: Mesh | undefined
  readonly certificateAuthorities: readonly CertificateAuthority[]
  readonly peerAuthentications: readonly PeerAuthentication[]
  readonly backendTrafficPolicies: readonly BackendTrafficPolicy[]
  readonly workloadEntries: readonly WorkloadEntry[]
  readonly policies: readonly PolicyInput[]
  /** UID of each WorkloadEntry, by `namespace/name`. */
  readonly uids: ReadonlyMap<string, string>
}

export interface PolicyInput {
  readonly object: AuthorizationPolicy
  /** The policy's compiled Rego; absent when it has none. */
  readonly rego?: RegoPolicy
}

const keepSettings = keepEqual<Mesh, MeshSettings | undefined>()
const keepSubjects = keepEqual<MeshSettings, readonly PortSubject[]>()
const keepDrafts = keepEqual<MeshSettings, readonly WorkloadDraft[]>()
const claimPorts = remember(settlePorts)
const joinServices = remember(translateServices)
const attachPolicy = remember((object: AuthorizationPolicy, subjects: readonly PortSubject[]) =>
  attach(object, subjects),
)
const keepCatalog = keepEqual<MeshSettings, readonly Service[]>()
const keepWorkload = keepEqual<WorkloadEntry, Workload>()
const translateEntry = remember(translateWorkloadEntry)
const translatePolicy = remember(
  (object: AuthorizationPolicy, mesh: MeshSettings, rego: RegoPolicy | undefined) =>
    translateAuthorizationPolicy(object, { mesh, rego }),
)

const ACTION_ORDER: readonly PolicyAction[] = ['DENY', 'AUDIT', 'ALLOW']

/** The model of `input` and all its problems. Without Mesh or CertificateAuthority there is no model. */
export function translate(input: TranslationInput): Translation {
  const found = translateMesh(input.mesh, input.certificateAuthorities)
  const { certificateAuthority, problems } = found
  const mesh = input.mesh && keepSettings(input.mesh, found.mesh)
  if (mesh === undefined || certificateAuthority === undefined) {
    return { model: undefined, problems }
  }
  const { workloads, problems: more } = translateWorkloads(input, mesh)
  const byKey = new Map(
    workloads.map((w) => [workloadKey(w), w] as const).sort(([a], [b]) => compareText(a, b)),
  )
  return {
    model: { mesh, certificateAuthority, workloads: byKey },
    problems: [...problems, ...more].sort(compareProblems),
  }
}

interface Workloads {
  readonly workloads: readonly Workload[]
  readonly problems: readonly Problem[]
}

function translateWorkloads(input: TranslationInput, mesh: MeshSettings): Workloads {
  const entries = [...input.workloadEntries]
    .sort(compareAge)
    .map((object) => translateEntry(object, mesh.trustDomain))
  const subjects = keepSubjects(
    mesh,
    entries.map((entry) => entry.subject),
  )
  const drafts = keepDrafts(
    mesh,
    entries.flatMap(({ draft }) => (draft === undefined ? [] : [draft])),
  )
  const claims = claimPorts(drafts)
  const { services, problems: serviceProblems } = joinServices(drafts, claims)
  const peers = translatePeerAuthentications(input.peerAuthentications, subjects, mesh.mtlsMode)
  const traffic = translateTrafficPolicies(input.backendTrafficPolicies, subjects)
  const catalog = translateCatalog(drafts, { services, traffic, modeOf: peers.modeOf })
  const shared = { mode: mesh.outboundMode, services: keepCatalog(mesh, catalog.services) }
  const policies = translatePolicies(input.policies, subjects, mesh)
  const problems = [
    ...entries.flatMap((entry) => entry.problems),
    ...claims.problems,
    ...serviceProblems,
    ...peers.problems,
    ...traffic.problems,
    ...catalog.problems,
    ...policies.problems,
  ]
  const workloads = drafts.map((draft): Workload => {
    const { outbound, problems: more } = translateOutbound(draft, {
      services,
      claims,
      traffic,
      modeOf: peers.modeOf,
    })
    problems.push(...more)
    const policySet = toPolicySet(draft, mesh, policies.byWorkload)
    const uid = uidOf(input, draft)
    const capture = toCapture(draft, claims, shared)
    const parts = { uid, outbound, policySet, claims, peers, traffic, ...capture }
    return keepWorkload(draft.object, assemble(draft, parts))
  })
  return { workloads, problems }
}

/** All captured workloads share one list of services. */
function toCapture(
  draft: WorkloadDraft,
  claims: PortClaims,
  shared: Pick<Capture, 'mode' | 'services'>,
): { readonly capture?: Capture } {
  const port = draft.object.spec.capture?.outboundPort
  if (port === undefined || claims.refused.has(refusedKey(draft, CAPTURE_FIELD))) return {}
  return { capture: { address: CAPTURE_ADDRESS, port, ...shared } }
}

interface Parts {
  readonly capture?: Capture
  readonly uid: string
  readonly outbound: readonly OutboundPort[]
  readonly policySet: PolicySet
  readonly claims: PortClaims
  readonly peers: PeerAuthenticationTranslation
  readonly traffic: TrafficTranslation
}

function assemble(draft: WorkloadDraft, parts: Parts): Workload {
  const { namespace, name, service, serviceAccount, spiffeId, labels } = draft
  const served = draft.inbound.filter(
    (port) => !parts.claims.refused.has(refusedKey(draft, `spec.inbound[${port.index}]`)),
  )
  const limits = parts.traffic.trafficOf(`${namespace}/${service}`)?.limits
  return {
    namespace,
    name,
    uid: parts.uid,
    serviceAccount,
    spiffeId,
    service,
    labels: Object.fromEntries(Object.entries(labels).sort(([a], [b]) => compareText(a, b))),
    inbound: served
      .map(({ index: _, ...port }) => ({
        ...port,
        mtls: parts.peers.modeOf(draft, port.port),
        ...(limits === undefined ? {} : { limits }),
      }))
      .sort((a, b) => a.port - b.port),
    outbound: [...parts.outbound].sort((a, b) => a.port - b.port),
    ...(parts.capture === undefined ? {} : { capture: parts.capture }),
    policySet: parts.policySet,
  }
}

function uidOf(input: TranslationInput, draft: WorkloadDraft): string {
  const key = workloadKey(draft)
  const uid = input.uids.get(key)
  if (uid === undefined) throw new Error(`no uid for workload ${key}`)
  return uid
}

interface Policies {
  readonly byWorkload: ReadonlyMap<string, readonly Policy[]>
  readonly problems: readonly Problem[]
}

function translatePolicies(
  inputs: readonly PolicyInput[],
  subjects: readonly PortSubject[],
  mesh: MeshSettings,
): Policies {
  const byWorkload = new Map<string, Policy[]>()
  const problems: Problem[] = []
  for (const { object, rego } of inputs) {
    const translated = translatePolicy(object, mesh, rego)
    const attachment = attachPolicy(object, subjects)
    problems.push(...translated.problems, ...attachment.problems)
    if (translated.policy === undefined) continue
    for (const subject of attachment.selected) {
      const key = workloadKey(subject)
      const attached = byWorkload.get(key)
      if (attached === undefined) byWorkload.set(key, [translated.policy])
      else attached.push(translated.policy)
    }
  }
  return { byWorkload, problems }
}

function toPolicySet(
  draft: WorkloadDraft,
  mesh: MeshSettings,
  byWorkload: Policies['byWorkload'],
): PolicySet {
  const { trustDomainAliases } = mesh
  return withRequires({
    workload: workloadKey(draft),
    trustDomain: mesh.trustDomain,
    ...(trustDomainAliases.length === 0 ? {} : { trustDomainAliases }),
    defaultAction: mesh.defaultAction,
    defaultMode: mesh.defaultMode,
    policies: [...(byWorkload.get(workloadKey(draft)) ?? [])].sort(comparePolicies),
  })
}

function comparePolicies(a: Policy, b: Policy): number {
  return (
    ACTION_ORDER.indexOf(a.action) - ACTION_ORDER.indexOf(b.action) ||
    compareText(a.namespace, b.namespace) ||
    compareText(a.name, b.name)
  )
}

function compareProblems(a: Problem, b: Problem): number {
  return compareText(problemKey(a), problemKey(b))
}

function problemKey({ object, field, code, message }: Problem): string {
  return [object?.kind, object?.namespace, object?.name, field, code, message].join('\0')
}
