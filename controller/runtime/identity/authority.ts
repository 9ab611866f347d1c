/**
 * The certificate authority in force: makes or opens its keys, and signs SVIDs and re-attestation credentials.
 * Two keys: the root, whose certificate is the trust bundle, and the attestation key, which no trust bundle knows.
 * It must never make a new root where there was one, nor sign for longer than its root lives.
 */
import { sha256 } from '../../../common/attestation.ts'
import type { Clock } from '../../../common/clock.ts'
import { MeshError } from '../../../common/errors.ts'
import { toPem } from '../../../common/pem.ts'
import { Secret } from '../../../common/secret.ts'
import type { WorkloadIdentity } from '../../../common/spiffe-id.ts'
import { formatPair, parsePair, parseRoots, type StoredPair } from '../../core/ca/authority-text.ts'
import { type Credential, readCredential } from '../../core/ca/credential.ts'
import { type IssuedCertificate, issueCertificate } from '../../core/ca/issue.ts'
import { EMPTY_REGISTRY } from '../../core/ca/registry.ts'
import { formatRegistry } from '../../core/ca/registry-text.ts'
import {
  attestationRootTemplate,
  type CertificateTemplate,
  credentialTemplate,
  type Issuer,
  issuerOf,
  rootTemplate,
  serialFrom,
  servingTemplate,
  svidTemplate,
} from '../../core/ca/template.ts'
import type { IdentityStore, Keys, RandomBytes, SigningKey } from './ports.ts'

export const ROOT_FILE = 'root.pem'
export const ATTESTATION_FILE = 'attestation.pem'
/** Of a shared store only. */
export const OTHER_ROOTS_FILE = 'other-roots.pem'
export const REGISTRY_FILE = 'identities.json'

export interface SvidRequest {
  readonly identity: WorkloadIdentity
  readonly workloadUid: string
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  readonly lifetimeSeconds: number
  readonly maxLifetimeSeconds: number
  /** For an SVID alone: it buys no other without a token. Default: no. */
  readonly isProvisional?: boolean
}

export interface Authority {
  readonly trustDomain: string
  /** DER roots that SVIDs of this trust domain verify against. */
  readonly trustBundle: readonly Uint8Array[]
  readonly trustBundlePem: string
  /** Of the root that signs. */
  readonly rootPem: string
  /** SHA-256 of the key that signs credentials. */
  readonly attestationFingerprint: Uint8Array
  /** SHA-256 of the root's DER. */
  readonly rootFingerprint: Uint8Array
  readonly rootNotAfterMs: number
  signSvid(request: SvidRequest): Promise<IssuedCertificate>
  signCredential(request: {
    readonly workloadUid: string
    readonly publicKey: Uint8Array
  }): Promise<IssuedCertificate>
  /** For a server that is called by DNS names, as the API server calls webhooks. */
  signServing(request: {
    readonly dnsNames: readonly string[]
    readonly publicKey: Uint8Array
    readonly lifetimeSeconds: number
  }): Promise<IssuedCertificate>
  /** Throws ERR_CREDENTIAL_INVALID. */
  readCredential(der: Uint8Array): Credential
}

export interface AuthorityOptions {
  readonly trustDomain: string
  /** Of a root that is made now; one that exists keeps its own end. */
  readonly rootLifetimeSeconds: number
  readonly store: IdentityStore
  readonly keys: Keys
  readonly clock: Clock
  readonly randomBytes: RandomBytes
}

interface Signing {
  readonly issuer: Issuer
  readonly key: SigningKey
}

/**
 * Opens the authority that `createAuthority` made, now or long ago.
 * Throws ERR_STATE_CORRUPT (lost, damaged, open to others, or of another trust domain).
 */
export async function openAuthority(
  options: Omit<AuthorityOptions, 'rootLifetimeSeconds'>,
): Promise<Authority> {
  const { store, trustDomain } = options
  const { remedy } = store
  if (!(await store.exists())) throw lost(store)
  const uri = `spiffe://${trustDomain}`
  const root = parsePair(await store.read(ROOT_FILE), { name: ROOT_FILE, uri, remedy })
  const attestation = parsePair(await store.read(ATTESTATION_FILE), {
    name: ATTESTATION_FILE,
    uri: undefined,
    remedy,
  })
  const others = (await store.shared?.otherRoots()) ?? ''
  const signing = {
    root: toSigning(options.keys, root, { name: ROOT_FILE, remedy }),
    attestation: toSigning(options.keys, attestation, { name: ATTESTATION_FILE, remedy }),
  }
  const roots = [
    root.certificate.der,
    ...parseRoots(others, { name: OTHER_ROOTS_FILE, uri, remedy }),
  ]
  return toAuthority(options, root, { ...signing, roots })
}

function toAuthority(
  options: Pick<AuthorityOptions, 'trustDomain' | 'clock' | 'randomBytes'>,
  root: StoredPair,
  signing: {
    readonly root: Signing
    readonly attestation: Signing
    readonly roots: readonly Uint8Array[]
  },
): Authority {
  const { clock, trustDomain } = options
  const { certificate } = root
  const issueFor = (publicKey: Uint8Array, isProvisional = false) => ({
    serialNumber: serialFrom(options.randomBytes(16), { isProvisional }),
    publicKey,
    nowMs: clock.now(),
  })
  return {
    trustDomain,
    trustBundle: signing.roots,
    trustBundlePem: signing.roots.map(toPem).join(''),
    rootPem: toPem(certificate.der),
    rootFingerprint: sha256(certificate.der),
    rootNotAfterMs: certificate.notAfterMs,
    attestationFingerprint: sha256(signing.attestation.issuer.publicKey),
    async signSvid(request) {
      const { issuer, key } = inForce(signing.root, clock)
      const { publicKey, isProvisional, ...rest } = request
      const issue = { ...issueFor(publicKey, isProvisional), ...rest }
      return sign(svidTemplate(issuer, issue), issuer, key)
    },
    async signCredential({ workloadUid, publicKey }) {
      const { issuer, key } = inForce(signing.attestation, clock)
      return sign(credentialTemplate(issuer, { ...issueFor(publicKey), workloadUid }), issuer, key)
    },
    async signServing({ publicKey, ...rest }) {
      const { issuer, key } = inForce(signing.root, clock)
      return sign(servingTemplate(issuer, { ...issueFor(publicKey), ...rest }), issuer, key)
    },
    readCredential: (der) => readCredential(der, signing.attestation.issuer, clock.now()),
  }
}

const sign = (template: CertificateTemplate, issuer: Issuer, key: SigningKey) =>
  issueCertificate(template, issuer, key)

function inForce(signing: Signing, clock: Clock): Signing {
  const now = clock.now()
  if (now >= signing.issuer.notBeforeMs && now < signing.issuer.notAfterMs) return signing
  const message = 'the root certificate is not valid now; check the clock and the root'
  throw new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' })
}

function toSigning(
  keys: Keys,
  pair: StoredPair,
  { name, remedy }: { readonly name: string; readonly remedy: string },
): Signing {
  const key = keys.fromPem(pair.key)
  if (!Buffer.from(key.publicKey).equals(pair.certificate.publicKey)) {
    const message = `the key in ${name} is not its certificate's; ${remedy}`
    throw new MeshError('ERR_STATE_CORRUPT', message)
  }
  return { issuer: issuerOf(pair.certificate), key }
}

/** A new root would make every sidecar distrust every other, and void all credentials, without a word. */
export function lost({ place, remedy }: Pick<IdentityStore, 'place' | 'remedy'>): MeshError {
  const message = `the keys of the certificate authority (${place}) are gone, but what was accepted under them is still there; ${remedy}`
  return new MeshError('ERR_STATE_CORRUPT', message)
}

/**
 * Makes the keys in an empty place; leaves those alone that are there. Only for a mesh that never had any.
 * Resolves with false when another process is to make them: ask again. Throws ERR_STATE_WRITE, ERR_STATE_CORRUPT.
 */
export async function createAuthority(options: AuthorityOptions): Promise<boolean> {
  const { store } = options
  if (await store.exists()) return true
  // Roots that pods were given outlive a lost Secret, and say that this is no beginning.
  if (store.shared?.givenOut() !== undefined) throw lost(store)
  if (store.shared?.mayCreate() === false) return false
  const { trustDomain, rootLifetimeSeconds: lifetimeSeconds, clock, keys, randomBytes } = options
  const make = async (templateOf: typeof rootTemplate) => {
    const key = await keys.generate()
    const template = templateOf({
      serialNumber: serialFrom(randomBytes(16)),
      publicKey: key.publicKey,
      nowMs: clock.now(),
      trustDomain,
      lifetimeSeconds,
    })
    const { der } = await issueCertificate(template, issuerOf(template), key)
    return formatPair(der, key.toPem())
  }
  const files = new Map<string, Secret<string>>([
    [ROOT_FILE, await make(rootTemplate)],
    [ATTESTATION_FILE, await make(attestationRootTemplate)],
    [REGISTRY_FILE, new Secret(formatRegistry(EMPTY_REGISTRY))],
  ])
  await store.create(files)
  return true
}
