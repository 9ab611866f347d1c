/**
 * Custom resources → the mesh as values, and what is wrong with them (STYLE §2, "decide").
 * Pure: equal objects in any order give an equal model. Every problem names the object and field that the user can
 * mend, so the caller may put that object's last good version in its place and translate again.
 * An object with a problem is used as far as it is sound, and never so that it opens something.
 * A workload of which nothing changed is the same value as before (common/remember.ts), so that nothing is made of it anew.
 */
import type { Problem } from '../../../common/errors.ts'
import { withRequires } from '../../../common/features.ts'
import {
  comparePolicies,
  type Policy,
  type PolicySet,
  type RegoPolicy,
} from '../../../common/policy-set.ts'
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
  type InboundPort,
  type MeshSettings,
  type OutboundPort,
  type Service,
  type Translation,
  type Workload,
  workloadKey,
} from '../model/mesh.ts'
import { attach, servicesOf } from './attachment.ts'
import { translateAuthorizationPolicy } from './authorization-policy.ts'
import { type TrafficTranslation, translateTrafficPolicies } from './backend-traffic-policy.ts'
import { addNamedPorts, appSourceOf } from './captured-ports.ts'
import {
  type ClusterFacts,
  mergeServices,
  NO_CLUSTER,
  resolveServices,
  translatePod,
} from './cluster.ts'
import { translateMesh } from './mesh.ts'
import { compareAge, compareText, refOf } from './objects.ts'
import { type Services, translateOutbound, translateServices } from './outbound.ts'
import {
  type PeerAuthenticationTranslation,
  type PortSubject,
  translatePeerAuthentications,
} from './peer-authentication.ts'
import {
  CAPTURE_FIELD,
  captureAddress,
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
  /** Absent: there are no pods and no Services. */
  readonly cluster?: ClusterFacts
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
const keepWorkload = keepEqual<WorkloadDraft['object'], Workload>()
const translateEntry = remember(translateWorkloadEntry)
const translatePolicy = remember(
  (object: AuthorizationPolicy, mesh: MeshSettings, rego: RegoPolicy | undefined) =>
    translateAuthorizationPolicy(object, { mesh, rego }),
)

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
  const { cluster = NO_CLUSTER } = input
  const parties = readParties(input, mesh, cluster)
  const { drafts, subjects, claims, services } = parties
  const peers = translatePeerAuthentications(
    input.peerAuthentications,
    cluster.outsiders.length === 0 ? subjects : [...subjects, ...cluster.outsiders],
    mesh.mtlsMode,
  )
  const traffic = translateTrafficPolicies(input.backendTrafficPolicies, subjects)
  const { modeOf } = peers
  const catalog = translateCatalog(parties.apart, { services, traffic, modeOf, cluster })
  const around = { trustDomain: mesh.trustDomain, traffic, modeOf }
  const merged = mergeServices(resolveServices(cluster.services, around), catalog.services)
  const shared = { mode: mesh.outboundMode, services: keepCatalog(mesh, merged) }
  const policies = translatePolicies(input.policies, subjects, mesh)
  const problems = [
    ...parties.problems,
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
      modeOf,
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

interface Parties {
  readonly subjects: readonly PortSubject[]
  /** Of WorkloadEntries, oldest first. */
  readonly apart: readonly WorkloadDraft[]
  /** All that are served: those, and pods. */
  readonly drafts: readonly WorkloadDraft[]
  readonly claims: PortClaims
  /** Those that WorkloadEntries make up. */
  readonly services: Services
  readonly problems: readonly Problem[]
}

/** Who is there, before anything is known of how they may meet. */
function readParties(
  { workloadEntries }: TranslationInput,
  mesh: MeshSettings,
  cluster: ClusterFacts,
): Parties {
  const entries = [...workloadEntries]
    .sort(compareAge)
    .map((object) => translateEntry(object, mesh.trustDomain))
  const pods = cluster.pods.map((pod) => translatePod(pod, mesh.trustDomain))
  const { drafts: apart, problems: twins } = withoutTwins(
    keepDrafts(mesh, draftsOf(entries)),
    cluster,
  )
  const claims = claimPorts(apart)
  const { services, problems } = joinServices(apart, claims)
  return {
    subjects: keepSubjects(mesh, [...entries.map(({ subject }) => subject), ...cluster.pods]),
    apart,
    drafts: [...apart, ...draftsOf(pods)],
    claims,
    services,
    problems: [
      ...[...entries, ...pods].flatMap((entry) => entry.problems),
      ...cluster.problems,
      ...twins,
      ...claims.problems,
      ...problems,
    ],
  }
}

function draftsOf(
  found: readonly { readonly draft: WorkloadDraft | undefined }[],
): readonly WorkloadDraft[] {
  return found.flatMap(({ draft }) => (draft === undefined ? [] : [draft]))
}

/** A pod is what it is; a WorkloadEntry of the same name, or of a pod's address, would be taken for it. */
function withoutTwins(
  drafts: readonly WorkloadDraft[],
  { pods }: ClusterFacts,
): { readonly drafts: readonly WorkloadDraft[]; readonly problems: readonly Problem[] } {
  if (pods.length === 0 || drafts.length === 0) return { drafts, problems: [] }
  const names = new Set(pods.map(workloadKey))
  const addresses = new Map(pods.map((pod) => [pod.address, pod]))
  const problems = drafts.flatMap((draft): readonly Problem[] => {
    const object = refOf(draft.object)
    const remedy = 'a pod needs no WorkloadEntry; remove it, or give it another'
    if (names.has(workloadKey(draft))) {
      const message = `there is a pod of the same name`
      return [{ code: 'ERR_FIELD_VALUE', object, field: 'metadata.name', message, remedy }]
    }
    const pod = addresses.get(draft.address)
    if (pod === undefined) return []
    const message = `"${draft.address}" is the address of pod ${workloadKey(pod)}`
    return [{ code: 'ERR_FIELD_VALUE', object, field: 'spec.address', message, remedy }]
  })
  const isTwin = (draft: WorkloadDraft) =>
    names.has(workloadKey(draft)) || addresses.has(draft.address)
  return problems.length === 0
    ? { drafts, problems }
    : { drafts: drafts.filter((draft) => !isTwin(draft)), problems }
}

/** All captured workloads share one list of services. */
function toCapture(
  draft: WorkloadDraft,
  claims: PortClaims,
  shared: Pick<Capture, 'mode' | 'services'>,
): { readonly capture?: Capture } {
  const port = draft.spec.capture?.outboundPort
  if (port === undefined || claims.refused.has(refusedKey(draft, CAPTURE_FIELD))) return {}
  return { capture: { address: captureAddress(draft), port, ...shared } }
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
  return {
    namespace,
    name,
    uid: parts.uid,
    serviceAccount,
    spiffeId,
    service,
    ...(draft.services === undefined ? {} : { services: draft.services }),
    labels: Object.fromEntries(Object.entries(labels).sort(([a], [b]) => compareText(a, b))),
    inbound: toInbound(draft, parts)
      .map((port) => ({ ...port, mtls: parts.peers.modeOf(draft, port.port) }))
      .sort((a, b) => a.port - b.port),
    outbound: [...parts.outbound].sort((a, b) => a.port - b.port),
    ...(parts.capture === undefined ? {} : { capture: parts.capture }),
    ...toInboundCapture(draft, parts),
    policySet: parts.policySet,
  }
}

type BarePort = Omit<InboundPort, 'mtls'>

function toInbound(draft: WorkloadDraft, parts: Parts): readonly BarePort[] {
  const limits = servicesOf(draft)
    .map((name) => parts.traffic.trafficOf(`${draft.namespace}/${name}`)?.limits)
    .find((found) => found !== undefined)
  const ports = draft.inbound
    .filter(({ index }) => !parts.claims.refused.has(refusedKey(draft, `spec.inbound[${index}]`)))
    .map(
      ({ index: _, ...port }): BarePort => ({
        ...port,
        ...(limits === undefined ? {} : { limits }),
      }),
    )
  if (draft.capturedBy === undefined) return ports
  const others = parts.peers.portsOf(draft)
  return addNamedPorts(ports, draft.address, { policies: parts.policySet.policies, others })
}

function toInboundCapture(
  draft: WorkloadDraft,
  { peers }: Parts,
): Pick<Workload, 'inboundCapture'> {
  const { address, capturedBy: port } = draft
  if (port === undefined) return {}
  const appSource = appSourceOf(address)
  const otherMtls = peers.modeOf(draft, ANY_OTHER)
  return { inboundCapture: { port, appAddress: address, appSource, otherMtls } }
}

/** No port's number: what is said of it is said of every port that nobody names. */
const ANY_OTHER = 0

function uidOf(input: TranslationInput, draft: WorkloadDraft): string {
  const key = workloadKey(draft)
  const uid = draft.uid ?? input.uids.get(key)
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

function compareProblems(a: Problem, b: Problem): number {
  return compareText(problemKey(a), problemKey(b))
}

function problemKey({ object, field, code, message }: Problem): string {
  return [object?.kind, object?.namespace, object?.name, field, code, message].join('\0')
}
