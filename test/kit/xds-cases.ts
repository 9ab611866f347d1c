/**
 * The golden cases of xDS: a case's manifests through reader, translation and builders, as the controller does it.
 * Rego isn't compiled here: its digest is the module's, and it reads the body if it says so.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonValue } from '@bufbuild/protobuf'
import { formatProblem } from '../../common/errors.ts'
import type { RegoPolicy } from '../../common/policy-set.ts'
import { TYPE_URLS } from '../../common/xds.ts'
import type { AuthorizationPolicy, Kind, ObjectOfKind } from '../../controller/core/crd/index.ts'
import { parseManifests } from '../../controller/core/crd/manifests.ts'
import type { Translation } from '../../controller/core/model/mesh.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import type { StaticParts } from './static-bootstrap.ts'
import { toXdsJson } from './xds-json.ts'

const ROOT = new X509Certificate(readFileSync(join(import.meta.dirname, '../fixtures/root.pem')))

const FILES: Readonly<Record<keyof StaticParts, (typeof TYPE_URLS)[keyof typeof TYPE_URLS]>> = {
  listeners: TYPE_URLS.listener,
  routes: TYPE_URLS.route,
  clusters: TYPE_URLS.cluster,
  endpoints: TYPE_URLS.endpoint,
  extensions: TYPE_URLS.extensionConfig,
  secrets: TYPE_URLS.secret,
}

export interface XdsCase {
  /** Resources by workload (`namespace/name`), by kind. */
  readonly workloads: ReadonlyMap<string, StaticParts>
  readonly problems: readonly string[]
}

/** What one file of manifests becomes; `older`: for a proxy that names no features. Throws when the reader refuses something. */
export function buildXdsCase(yaml: string, form: 'newest' | 'older' = 'newest'): XdsCase {
  const { model, problems } = translateManifests(yaml)
  const workloads = [...(model?.workloads ?? [])].map(([key, workload]) => {
    const mesh = model?.mesh
    if (mesh === undefined) throw new Error('no mesh')
    const newest = buildSnapshot(workload, mesh, { trustBundle: [ROOT.raw] })
    const snapshot = form === 'older' ? (newest.older?.snapshot ?? newest) : newest
    const parts = Object.fromEntries(
      Object.entries(FILES).map(([file, typeUrl]) => [file, toXdsJson(snapshot, typeUrl)]),
    )
    return [key, parts as unknown as StaticParts] as const
  })
  return { workloads: new Map(workloads), problems: problems.map(formatProblem) }
}

/** The golden files of a case: each kind of resource in its own, by workload. */
export function toGoldenFiles({ workloads, problems }: XdsCase): Record<string, unknown> {
  const files = Object.keys(FILES).map((kind) => {
    const byWorkload = [...workloads].map(
      ([key, parts]) => [key, parts[kind as keyof StaticParts]] as const,
    )
    const some = byWorkload.filter(([, list]) => (list as readonly JsonValue[]).length > 0)
    return [`out.${kind}.yaml`, some.length === 0 ? undefined : Object.fromEntries(some)] as const
  })
  const found = problems.length === 0 ? undefined : problems
  return { ...Object.fromEntries(files), 'out.problems.yaml': found }
}

export function translateManifests(yaml: string): Translation {
  const { documents, problems } = parseManifests([{ path: 'in.yaml', text: yaml }])
  if (problems.length > 0) throw new Error(problems.map(formatProblem).join('\n'))
  const ofKind = <K extends Kind>(kind: K): ObjectOfKind[K][] =>
    documents.flatMap(({ object }) => (object?.kind === kind ? [object as ObjectOfKind[K]] : []))
  const workloadEntries = ofKind('WorkloadEntry')
  return translate({
    mesh: ofKind('Mesh')[0],
    certificateAuthorities: ofKind('CertificateAuthority'),
    peerAuthentications: ofKind('PeerAuthentication'),
    backendTrafficPolicies: ofKind('BackendTrafficPolicy'),
    policies: ofKind('AuthorizationPolicy').map(withRego),
    workloadEntries,
    uids: new Map(
      workloadEntries.map(({ metadata: m }) => [`${m.namespace}/${m.name}`, `uid-${m.name}`]),
    ),
  })
}

function withRego(object: AuthorizationPolicy): {
  object: AuthorizationPolicy
  rego?: RegoPolicy
} {
  const { rego } = object.spec
  if (rego === undefined) return { object }
  const text = rego.module ?? ''
  const wasmDigest = createHash('sha256').update(text).digest('hex')
  const readsBody = text.includes('parsed_body')
  return { object, rego: { entrypoint: rego.entrypoint, wasmDigest, data: {}, readsBody } }
}
