/**
 * Mesh → MeshSettings, with the CertificateAuthority that it names.
 * Without both there is no model: nothing may be programmed on guesses about trust.
 */
import type { Problem } from '../../../common/errors.ts'
import { isTrustDomain } from '../../../common/spiffe-id.ts'
import type { CertificateAuthority, Mesh } from '../crd/index.ts'
import type { CertificateAuthoritySettings, MeshSettings } from '../model/mesh.ts'
import { translateCertificateAuthority } from './certificate-authority.ts'
import { compareText, refOf } from './objects.ts'

export interface MeshTranslation {
  readonly mesh: MeshSettings | undefined
  readonly certificateAuthority: CertificateAuthoritySettings | undefined
  readonly problems: readonly Problem[]
}

/** The mesh's settings; SVIDs live no longer than the CertificateAuthority permits. */
export function translateMesh(
  object: Mesh | undefined,
  authorities: readonly CertificateAuthority[],
): MeshTranslation {
  if (object === undefined) {
    return { mesh: undefined, certificateAuthority: undefined, problems: [meshMissing()] }
  }
  const problems: Problem[] = []
  const { spec } = object
  for (const [field, domain] of trustDomains(object)) {
    if (!isTrustDomain(domain)) problems.push(badTrustDomain(object, field, domain))
  }
  const caName = spec.certificateAuthorityRef.name
  const found = authorities.find((a) => a.metadata.name === caName)
  if (found === undefined) problems.push(caMissing(object, caName))
  if (found === undefined || problems.length > 0) {
    return { mesh: undefined, certificateAuthority: undefined, problems }
  }
  const certificateAuthority = translateCertificateAuthority(found)
  return {
    mesh: toSettings(object, certificateAuthority),
    certificateAuthority,
    problems,
  }
}

function toSettings(object: Mesh, ca: CertificateAuthoritySettings): MeshSettings {
  const { spec } = object
  return {
    trustDomain: spec.trustDomain,
    trustDomainAliases: [...new Set(spec.trustDomainAliases ?? [])].sort(compareText),
    defaultAction: spec.defaultAction.action,
    defaultMode: spec.defaultAction.mode,
    mtlsMode: spec.mtls.mode,
    tlsMinVersion: spec.mtls.minTLSVersion,
    outboundMode: spec.outboundTrafficPolicy.mode,
    certificateAuthority: ca.name,
    svidLifetimeSeconds: Math.min(spec.svid.lifetimeSeconds, ca.maxSvidLifetimeSeconds),
    accessLog: spec.telemetry.accessLog.mode,
    ...(spec.telemetry.tracing === undefined ? {} : { tracing: spec.telemetry.tracing }),
  }
}

function trustDomains(object: Mesh): readonly (readonly [string, string])[] {
  const aliases = object.spec.trustDomainAliases ?? []
  return [
    ['spec.trustDomain', object.spec.trustDomain] as const,
    ...aliases.map((alias, i) => [`spec.trustDomainAliases[${i}]`, alias] as const),
  ]
}

function meshMissing(): Problem {
  return {
    code: 'ERR_MESH_MISSING',
    field: '',
    message: 'there is no Mesh, so no trust domain',
    remedy: 'add a Mesh named "mesh" with spec.trustDomain',
  }
}

function badTrustDomain(object: Mesh, field: string, domain: string): Problem {
  return {
    code: 'ERR_SPIFFE_ID',
    object: refOf(object),
    field,
    message: `"${domain}" is not a SPIFFE trust domain`,
    remedy: 'use lower-case letters, digits, dots, dashes and underscores only',
  }
}

function caMissing(object: Mesh, name: string): Problem {
  return {
    code: 'ERR_REFERENCE_NOT_FOUND',
    object: refOf(object),
    field: 'spec.certificateAuthorityRef.name',
    message: `there is no CertificateAuthority "${name}"`,
    remedy: `add a CertificateAuthority named "${name}" or name one that exists`,
  }
}
