/** CertificateAuthority → CertificateAuthoritySettings. The schema has checked and defaulted everything. */
import type { CertificateAuthority } from '../crd/index.ts'
import type { CertificateAuthoritySettings } from '../model/mesh.ts'

export function translateCertificateAuthority(
  object: CertificateAuthority,
): CertificateAuthoritySettings {
  const { keyAlgorithm, rootLifetimeSeconds, maxSvidLifetimeSeconds } = object.spec
  return { name: object.metadata.name, keyAlgorithm, rootLifetimeSeconds, maxSvidLifetimeSeconds }
}
