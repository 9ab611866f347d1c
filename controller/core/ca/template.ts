/**
 * What each kind of certificate says, before it is signed: identity and time in, template out. Pure.
 * A leaf never lives longer than its issuer, and no identity is written here that its caller did not decide on.
 * Source: X509-SVID §2–§5, RFC 5280 §4.2; shape as SPIRE's `credtemplate`.
 */
import { createHash } from 'node:crypto'
import { type Certificate, KEY_USAGE, OID } from '../../../common/certificate.ts'
import { readBitString, readChildren, readDer, TAG } from '../../../common/der.ts'
import { oid, sequence, setOfOne, utf8String } from '../../../common/der-write.ts'
import { formatSpiffeId, type WorkloadIdentity } from '../../../common/spiffe-id.ts'

/**
 * How far a certificate's start lies before its issue, so that a peer whose clock is slow takes it.
 * Sixty seconds: six times SPIRE's, less than Istio's two minutes; a machine without NTP drifts about 1 s a day.
 */
export const BACKDATE_MS = 60_000

/** How long a re-attestation certificate is good: a sidecar that was away longer needs a new join token. */
export const CREDENTIAL_LIFETIME_MS = 90 * 24 * 3_600_000

/** In a serial number's first byte. An older CA drew it at random: then half of its SVIDs ask for a token, too. */
const PROVISIONAL_BIT = 0x20

/** Upper bound of a commonName. Source: RFC 5280 appendix A, ub-common-name. */
const MAX_COMMON_NAME = 64

export interface CertificateTemplate {
  readonly kind: 'root' | 'attestation-root' | 'svid' | 'credential' | 'serving'
  /** Positive, at most 20 bytes, of which at least 64 bits are random. */
  readonly serialNumber: Uint8Array
  /** Names, as DER. */
  readonly issuer: Uint8Array
  readonly subject: Uint8Array
  /** Epoch milliseconds, whole seconds. */
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  readonly isCa: boolean
  /** Bit numbers, ascending. */
  readonly keyUsage: readonly number[]
  /** OIDs; none: no such extension. */
  readonly extendedKeyUsage: readonly string[]
  readonly uri?: string
  /** Instead of a URI. */
  readonly dnsNames?: readonly string[]
  readonly workloadUid?: string
  readonly authorityKeyId: Uint8Array
}

/** An issuing certificate as templates need it. */
export interface Issuer {
  readonly subject: Uint8Array
  readonly publicKey: Uint8Array
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

interface Issue {
  readonly serialNumber: Uint8Array
  readonly publicKey: Uint8Array
  /** Epoch milliseconds. */
  readonly nowMs: number
}

/** A self-made root of a trust domain. */
export function rootTemplate(
  issue: Issue & { readonly trustDomain: string; readonly lifetimeSeconds: number },
): CertificateTemplate {
  return {
    ...selfSigned(issue, `Postern root ${issue.trustDomain}`),
    kind: 'root',
    uri: `spiffe://${issue.trustDomain}`,
  }
}

/** The issuer of re-attestation credentials: no SPIFFE id, and it stands in no trust bundle (DESIGN §3). */
export function attestationRootTemplate(
  issue: Issue & { readonly trustDomain: string; readonly lifetimeSeconds: number },
): CertificateTemplate {
  return {
    ...selfSigned(issue, `Postern attestation ${issue.trustDomain}`),
    kind: 'attestation-root',
  }
}

/**
 * An X.509-SVID. Its life is the shortest of `lifetimeSeconds`, `maxLifetimeSeconds` and the issuer's rest.
 * The subject is empty (so the SAN is critical, RFC 5280 §4.1.2.6): who it is, is said once.
 */
export function svidTemplate(
  issuer: Issuer,
  issue: Issue & {
    readonly identity: WorkloadIdentity
    readonly workloadUid: string
    readonly lifetimeSeconds: number
    readonly maxLifetimeSeconds: number
  },
): CertificateTemplate {
  const lifetimeMs = Math.min(issue.lifetimeSeconds, issue.maxLifetimeSeconds) * 1000
  return {
    ...leaf(issuer, issue, lifetimeMs),
    kind: 'svid',
    subject: sequence(),
    extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
    uri: formatSpiffeId(issue.identity),
    workloadUid: issue.workloadUid,
  }
}

/** A re-attestation credential: names a UID, and no SPIFFE id. */
export function credentialTemplate(
  issuer: Issuer,
  issue: Issue & { readonly workloadUid: string },
): CertificateTemplate {
  return {
    ...leaf(issuer, issue, CREDENTIAL_LIFETIME_MS),
    kind: 'credential',
    subject: commonName('Postern re-attestation'),
    extendedKeyUsage: [],
    workloadUid: issue.workloadUid,
  }
}

/** A server that the API server calls by a DNS name: no SPIFFE id, so that nobody of the mesh takes it for a workload. */
export function servingTemplate(
  issuer: Issuer,
  issue: Issue & { readonly dnsNames: readonly string[]; readonly lifetimeSeconds: number },
): CertificateTemplate {
  return {
    ...leaf(issuer, issue, issue.lifetimeSeconds * 1000),
    kind: 'serving',
    subject: commonName('Postern webhooks'),
    extendedKeyUsage: [OID.serverAuth],
    dnsNames: issue.dnsNames,
  }
}

/** The issuer that a certificate, or the template of one, is. */
export function issuerOf(certificate: Certificate | CertificateTemplate): Issuer {
  const { subject, publicKey, notBeforeMs, notAfterMs } = certificate
  return { subject, publicKey, notBeforeMs, notAfterMs }
}

/** subjectKeyIdentifier: the leftmost 160 bits of the SHA-256 of the key. Source: RFC 7093 §2, method 1. */
export function keyIdentifier(publicKey: Uint8Array): Uint8Array {
  const [, bits] = readChildren(readDer(publicKey), TAG.sequence)
  return createHash('sha256').update(readBitString(bits)).digest().subarray(0, 20)
}

/** A name of one commonName, cut to its upper bound. */
export function commonName(text: string): Uint8Array {
  const attribute = sequence(oid(OID.commonName), utf8String(text.slice(0, MAX_COMMON_NAME)))
  return sequence(setOfOne(attribute))
}

/**
 * A serial number of 16 random bytes: made positive, and never of fewer than 16 bytes.
 * Source: RFC 5280 §4.1.2.2 (positive, ≤ 20 bytes); CA/Browser Forum BR §7.1 (≥ 64 random bits).
 */
export function serialFrom(
  random: Uint8Array,
  { isProvisional = false }: { readonly isProvisional?: boolean } = {},
): Uint8Array {
  if (random.length !== 16) throw new RangeError('a serial number takes 16 random bytes')
  const serial = Uint8Array.from(random)
  const first = ((serial[0] ?? 0) & 0x7f) | 0x40
  serial[0] = isProvisional ? first | PROVISIONAL_BIT : first & ~PROVISIONAL_BIT
  return serial
}

/**
 * Whether an SVID was issued for an SVID alone, while the API server was away, and so buys no other without a token.
 * It stands in the certificate, so that every replica knows it, and none has to remember.
 */
export function isProvisionalSerial(serialNumber: Uint8Array): boolean {
  return ((serialNumber[0] ?? PROVISIONAL_BIT) & PROVISIONAL_BIT) !== 0
}

function selfSigned(
  issue: Issue & { readonly lifetimeSeconds: number },
  name: string,
): Omit<CertificateTemplate, 'kind'> {
  const subject = commonName(name)
  return {
    serialNumber: issue.serialNumber,
    issuer: subject,
    subject,
    notBeforeMs: wholeSeconds(issue.nowMs - BACKDATE_MS),
    notAfterMs: wholeSeconds(issue.nowMs + issue.lifetimeSeconds * 1000),
    publicKey: issue.publicKey,
    isCa: true,
    keyUsage: [KEY_USAGE.keyCertSign, KEY_USAGE.crlSign],
    extendedKeyUsage: [],
    authorityKeyId: keyIdentifier(issue.publicKey),
  }
}

function leaf(issuer: Issuer, issue: Issue, lifetimeMs: number) {
  return {
    serialNumber: issue.serialNumber,
    issuer: issuer.subject,
    notBeforeMs: wholeSeconds(Math.max(issue.nowMs - BACKDATE_MS, issuer.notBeforeMs)),
    notAfterMs: wholeSeconds(Math.min(issue.nowMs + lifetimeMs, issuer.notAfterMs)),
    publicKey: issue.publicKey,
    isCa: false,
    keyUsage: [KEY_USAGE.digitalSignature],
    authorityKeyId: keyIdentifier(issuer.publicKey),
  }
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000
}
