/**
 * Whether the other end is the controller. In: its certificates as TLS presented them, and what is trusted beforehand
 * (a root's fingerprint from the join token, or stored roots). Out: a fault in words, or none.
 * A workload's valid SVID must never pass for the controller's. Source: DESIGN §3, X509-SVID §5.
 */
import { X509Certificate } from 'node:crypto'
import { sha256 } from '../../../common/attestation.ts'
import {
  type Certificate,
  extendedKeyUsageOf,
  isCa,
  KEY_USAGE,
  keyUsageOf,
  OID,
  parseCertificate,
  sameBytes,
  soleUri,
} from '../../../common/certificate.ts'
import { DerError } from '../../../common/der.ts'
import { controllerSpiffeId, isTrustDomain } from '../../../common/spiffe-id.ts'

/** More than a leaf, two intermediates and a root is not ours. */
const MAX_CHAIN = 5

/** What is wrong with the leaf as the controller's of this trust domain; undefined: nothing. Not its signature. */
export function findControllerFault(leaf: Uint8Array, trustDomain: string): string | undefined {
  return orFault(() => {
    const certificate = parseCertificate(leaf)
    const expected = controllerSpiffeId(trustDomain)
    if (isCa(certificate)) return 'it is a CA certificate'
    if (soleUri(certificate) !== expected)
      return `it says ${soleUri(certificate) ?? 'nothing'}, not ${expected}`
    if (!extendedKeyUsageOf(certificate).includes(OID.serverAuth)) return 'it is for no server'
    return undefined
  })
}

/** OpenSSL's words without Node's advice: no option of ours lets the system's roots in. */
export function withoutNodeHint(text: string): string {
  return text.replace(
    /; if the root CA is installed locally, try running Node\.js with --use-system-ca/g,
    '',
  )
}

/**
 * The root with this SHA-256 in a presented chain (leaf first), if every certificate up to it is signed by the next
 * and in force, and the leaf is the controller's of that root's trust domain.
 */
export function findPinnedRoot(
  chain: readonly Uint8Array[],
  rootFingerprint: Uint8Array,
  nowMs: number,
): { readonly root: Uint8Array; readonly trustDomain: string } | { readonly fault: string } {
  const end = chain.findIndex((der) => sameBytes(sha256(der), rootFingerprint))
  const root = chain[end]
  if (root === undefined)
    return { fault: 'its chain has no root with the fingerprint of the join token' }
  if (end === 0 || end >= MAX_CHAIN) return { fault: 'its chain is of a wrong length' }
  const path = chain.slice(0, end + 1)
  const fault = findPathFault(path, nowMs)
  if (fault !== undefined) return { fault }
  const trustDomain = trustDomainOf(root)
  if (trustDomain === undefined) return { fault: 'its root names no trust domain' }
  const leafFault = findControllerFault(path[0] ?? root, trustDomain)
  return leafFault === undefined ? { root, trustDomain } : { fault: leafFault }
}

/** What is wrong with a chain, leaf first, last one trusted; undefined: each is signed by the next and in force. */
export function findPathFault(path: readonly Uint8Array[], nowMs: number): string | undefined {
  return orFault(() => {
    const certificates = path.map(parseCertificate)
    for (const [i, certificate] of certificates.entries()) {
      if (nowMs < certificate.notBeforeMs || nowMs >= certificate.notAfterMs)
        return 'a certificate of it is not valid now; check the clock of this machine'
      const issuer = certificates[i + 1] ?? certificate
      if (i > 0 && !signsCertificates(certificate)) return 'an issuer in it is no CA'
      if (!isIssuedBy(certificate, issuer)) return 'a certificate in it is not signed by the next'
    }
    return undefined
  })
}

/** Whether a certificate is a root of this trust domain: a CA whose only name is `spiffe://<trust-domain>`. */
export function isRootOf(der: Uint8Array, trustDomain: string): boolean {
  try {
    return trustDomainOf(der) === trustDomain && signsCertificates(parseCertificate(der))
  } catch (error) {
    if (error instanceof DerError) return false
    throw error
  }
}

/** The trust domain that all of these are roots of, and at least one. */
export function commonTrustDomain(roots: readonly Uint8Array[]): string | undefined {
  try {
    const trustDomain = roots[0] && trustDomainOf(roots[0])
    if (trustDomain === undefined) return undefined
    return roots.every((root) => isRootOf(root, trustDomain)) ? trustDomain : undefined
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}

function trustDomainOf(root: Uint8Array): string | undefined {
  const uri = soleUri(parseCertificate(root))
  if (uri === undefined || !uri.startsWith('spiffe://')) return undefined
  const trustDomain = uri.slice('spiffe://'.length)
  return isTrustDomain(trustDomain) ? trustDomain : undefined
}

function signsCertificates(certificate: Certificate): boolean {
  return isCa(certificate) && keyUsageOf(certificate).has(KEY_USAGE.keyCertSign)
}

function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  if (!sameBytes(certificate.issuer, issuer.subject)) return false
  return new X509Certificate(certificate.der).verify(new X509Certificate(issuer.der).publicKey)
}

/** Certificates come from whoever answers: what cannot be read is a fault, whichever parser says so. */
function orFault(find: () => string | undefined): string | undefined {
  try {
    return find()
  } catch {
    return 'a certificate of it cannot be read'
  }
}
